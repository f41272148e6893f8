#!/usr/bin/env bash
# Runs a command beside a Slurm of its own: a controller and two nodes, n1 and n2, on this machine, which are gone
# afterwards. Needs root, and Debian's packages slurm-wlm and munge.
#
#   tests/slurm.sh COMMAND [ARGUMENT...]
#
# The status is the command's; 77 where there can be no Slurm here, with the reason on stderr.
set -euo pipefail

impossible() {
    echo "no Slurm here: $1" >&2
    exit 77
}

if [[ -z "${BACKBURN_SLURM:-}" ]]; then
    ((EUID == 0)) || impossible "its daemons need root"
    for program in munged slurmctld slurmd sbatch unshare; do
        command -v "$program" >/dev/null || PATH="$PATH:/usr/sbin" command -v "$program" >/dev/null ||
            impossible "there is no $program (Debian: slurm-wlm, munge)"
    done
    unshare --mount --pid --fork true 2>/dev/null || impossible "namespaces are not allowed"
    # All daemons end with the first process of their namespace.
    BACKBURN_SLURM="$(mktemp -d)"
    export BACKBURN_SLURM
    trap 'rm -rf "$BACKBURN_SLURM"' EXIT
    status=0
    unshare --mount --pid --fork --mount-proc --kill-child "${BASH_SOURCE[0]}" "$@" || status=$?
    exit "$status"
fi

export PATH="$PATH:/usr/sbin"
place="$BACKBURN_SLURM"
chmod 755 "$place"
address="$(hostname -I | awk '{ print $1 }')"
[[ -n "$address" ]] || impossible "this machine has no address but the loopback's"
host="$(hostname -s)"
cores="$(nproc)"

mkdir "$place/munge" "$place/state" "$place"/tmp-n1 "$place"/tmp-n2
head -c 1024 /dev/urandom >"$place/munge/key"
chmod 400 "$place/munge/key"
chown -R munge "$place/munge"
chmod 755 "$place/munge"
runuser -u munge -- munged --key-file="$place/munge/key" --socket="$place/munge/socket" \
    --pid-file="$place/munge/pid" --log-file="$place/munge/log" --seed-file="$place/munge/seed" ||
    impossible "munged does not start"

cat >"$place/slurm.conf" <<CONF
ClusterName=backburn
SlurmctldHost=$host($address)
SlurmUser=root
SlurmctldPort=16817
AuthType=auth/munge
AuthInfo=socket=$place/munge/socket
CredType=cred/munge
MpiDefault=pmix
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
JobRequeue=1
KillWait=5
MinJobAge=600
SlurmdTimeout=10
SlurmctldTimeout=10
StateSaveLocation=$place/state
SlurmdSpoolDir=$place/spool-%n
TmpFS=$place/tmp-%n
SlurmctldPidFile=$place/slurmctld.pid
SlurmdPidFile=$place/slurmd-%n.pid
SlurmctldLogFile=$place/slurmctld.log
SlurmdLogFile=$place/slurmd-%n.log
SchedulerParameters=requeue_setup_env_fail,bf_interval=1,sched_interval=1
NodeName=n1 NodeHostname=$host NodeAddr=$address Port=17001 CPUs=$cores RealMemory=1000
NodeName=n2 NodeHostname=$host NodeAddr=$address Port=17002 CPUs=$cores RealMemory=1000
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF="$place/slurm.conf"
slurmctld -f "$SLURM_CONF" || impossible "slurmctld does not start: $(tail -1 "$place/slurmctld.log")"
for node in n1 n2; do
    slurmd -f "$SLURM_CONF" -N "$node" || impossible "slurmd does not start"
done
for _ in $(seq 100); do
    (($(sinfo --noheader --states=idle -o %D 2>/dev/null || echo 0) == 2)) && break
    sleep 0.2
done
sinfo >&2
"$@"
