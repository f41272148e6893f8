#!/usr/bin/env python3
"""Makes fresh reference files for tests/reference.rs, with the names and shapes of those beside this
script, from implementations that are not ours:

    python3 -m venv /tmp/reference
    /tmp/reference/bin/pip install gymnasium mujoco==4.0.0 numpy torch cvxpy==1.9.3
    /tmp/reference/bin/python tests/reference/make.py /tmp/fresh --seed 7
    REFERENCE_DIR=/tmp/fresh cargo test -p backburn-tests --test reference

Only what a chosen file needs is imported: `--files gae` runs with numpy alone.
"""

import argparse
import json
import math
import pathlib
import shutil
import sys

import numpy as np


# ---------------------------------------------------------------------------------------- cartpole


def cartpole(rng):
    """Gymnasium's CartPole-v1: the state after every step."""
    import gymnasium

    env = gymnasium.make("CartPole-v1")

    def balance(state):
        # Push towards the lean, some of it against the drift: stays up for 500 steps.
        x, x_dot, theta, theta_dot = state
        return int(theta + 0.3 * theta_dot + 0.01 * x + 0.03 * x_dot > 0)

    def record(initial_state, policy):
        env.reset(seed=0)
        env.unwrapped.state = np.array(initial_state, dtype=np.float64)
        case = {"initial_state": list(initial_state)}
        case |= {key: [] for key in ("actions", "states", "rewards", "terminated", "truncated")}
        ended = False
        while not ended:
            action = policy(env.unwrapped.state)
            _, reward, terminated, truncated, _ = env.step(action)
            case["actions"].append(action)
            case["states"].append(env.unwrapped.state.tolist())
            case["rewards"].append(float(reward))
            case["terminated"].append(bool(terminated))
            case["truncated"].append(bool(truncated))
            ended = terminated or truncated
        return case

    def coin(_state):
        return int(rng.integers(2))

    near = [rng.uniform(-0.05, 0.05, 4).tolist() for _ in range(8)]
    far = [rng.uniform([-2, -1, -0.1, -1], [2, 1, 0.1, 1]).tolist() for _ in range(4)]
    cases = [record(state, balance) for state in near[:2]]
    cases += [record(state, coin) for state in near[2:]]
    cases += [record(state, policy) for state, policy in zip(far, [coin, balance] * 2)]
    source = f"gymnasium {gymnasium.__version__} CartPole-v1, float64 internal state after each step"
    return {"source": source, "cases": cases}


# ---------------------------------------------------------------------------------------- pendulum


def pendulum(rng):
    """Gymnasium's Pendulum-v1: torques beyond the limit among them, and fast spins."""
    import gymnasium

    env = gymnasium.make("Pendulum-v1")

    def record(kind):
        env.reset(seed=0)
        initial_state = rng.uniform([-math.pi, -1.0], [math.pi, 1.0])
        env.unwrapped.state = initial_state.copy()
        case = {"initial_state": initial_state.tolist()}
        keys = ("actions", "states", "observations", "rewards", "terminated", "truncated")
        case |= {key: [] for key in keys}
        ended = False
        while not ended:
            if kind == "spin":  # with the motion: up to the speed limit, over many turns
                torque = math.copysign(rng.uniform(1.0, 3.0), env.unwrapped.state[1])
            else:
                torque = rng.uniform(-3.0, 3.0) if kind == "wide" else rng.uniform(-1.0, 1.0)
            observation, reward, terminated, truncated, _ = env.step(np.array([torque]))
            case["actions"].append(float(torque))
            case["states"].append(env.unwrapped.state.tolist())
            case["observations"].append(observation.astype(np.float64).tolist())
            case["rewards"].append(float(reward))
            case["terminated"].append(bool(terminated))
            case["truncated"].append(bool(truncated))
            ended = terminated or truncated
        return case

    cases = [record(kind) for kind in ["narrow", "wide", "spin", "wide"] * 2]
    source = f"gymnasium {gymnasium.__version__} Pendulum-v1; actions are torques before clipping"
    return {"source": source, "cases": cases}


# ------------------------------------------------------------------------------------------- reach

# The arm of `envs::Reach`: two rods of 0.5 m and 1 kg in a horizontal plane. 1/48 is m l^2 / 12.
MJCF = """\
<mujoco>
  <option timestep="0.01" integrator="RK4" gravity="0 0 0"><flag contact="disable"/></option>
  <worldbody>
    <body name="upper">
      <joint name="q1" type="hinge" axis="0 0 1" damping="0.1"/>
      <inertial pos="0.25 0 0" mass="1" diaginertia="{inertia} {inertia} {inertia}"/>
      <body name="fore" pos="0.5 0 0">
        <joint name="q2" type="hinge" axis="0 0 1" damping="0.1"/>
        <inertial pos="0.25 0 0" mass="1" diaginertia="{inertia} {inertia} {inertia}"/>
        <site name="gripper" pos="0.5 0 0"/>
      </body>
    </body>
  </worldbody>
  <actuator><motor joint="q1" gear="2"/><motor joint="q2" gear="2"/></actuator>
</mujoco>""".format(inertia=repr(1 / 48))


def reach(rng):
    """MuJoCo with RK4. The episode goes on after a grasp, to record more of the dynamics."""
    import mujoco

    model = mujoco.MjModel.from_xml_string(MJCF)
    data = mujoco.MjData(model)
    site = model.site("gripper").id
    jacobian = np.zeros((3, model.nv))

    def gripper():
        """Position and velocity; MuJoCo computes what depends on the state only when asked."""
        mujoco.mj_forward(model, data)
        mujoco.mj_jacSite(model, data, jacobian, None, site)
        return data.site_xpos[site, :2].copy(), (jacobian @ data.qvel)[:2]

    def record(q, qd, target, actions):
        mujoco.mj_resetData(model, data)
        data.qpos[:], data.qvel[:] = q, qd
        if target is None:  # where the gripper is
            target = gripper()[0]
        case = {"initial_q": list(q), "initial_qd": list(qd), "target": target.tolist()}
        case["actions"] = actions.tolist()
        keys = ("q", "qd", "gripper", "gripper_velocity", "rewards", "grasped")
        case |= {key: [] for key in keys}
        for action in actions:
            clipped = np.clip(action, -1.0, 1.0)
            data.ctrl[:] = clipped
            mujoco.mj_step(model, data, nstep=2)
            position, velocity = gripper()
            distance = np.linalg.norm(position - target)
            grasped = bool(distance <= 0.05 and np.linalg.norm(velocity) <= 0.5)
            reward = -distance - 0.01 * clipped @ clipped + 10.0 * grasped
            case["q"].append(data.qpos.tolist())
            case["qd"].append(data.qvel.tolist())
            case["gripper"].append(position.tolist())
            case["gripper_velocity"].append(velocity.tolist())
            case["rewards"].append(float(reward))
            case["grasped"].append(grasped)
        return case

    def on_ring():
        radius, angle = math.sqrt(rng.uniform(0.2**2, 0.95**2)), rng.uniform(0, 2 * math.pi)
        return radius * np.array([math.cos(angle), math.sin(angle)])

    cases = []
    for speed in [0.1] * 4 + [6.0] * 2:
        # Each action is held for ten steps, some beyond the limit.
        actions = np.repeat(rng.uniform(-1.5, 1.5, (20, 2)), 10, axis=0)
        q, qd = rng.uniform(-math.pi, math.pi, 2), rng.uniform(-speed, speed, 2)
        cases.append(record(q, qd, on_ring(), actions))
    for _ in range(2):
        # At rest on the object, pushed a little: grasped at first, then no more.
        actions = rng.normal(0.0, 0.05, (200, 2))
        cases.append(record(rng.uniform(-math.pi, math.pi, 2), np.zeros(2), None, actions))
    source = (
        f"mujoco {mujoco.__version__}, RK4, dt 0.01 s, 2 substeps; "
        "the episode is not cut short at a grasp here"
    )
    return {"source": source, "mjcf": MJCF, "cases": cases}


# --------------------------------------------------------------------------------------------- gae


GAE_CASES = [(0.99, 0.95), (0.9, 0.0), (1.0, 1.0), (0.98, 0.8)]  # gamma, lam


def gae(rng):
    """Advantages as the sum of their definition, not by the recursion that we use:
    A_t = sum_l (gamma lam)^l delta_{t+l} to the end of the episode or of the data, where
    delta_t = r_t + gamma (1 - terminated_t) V(s'_t) - V(s_t)."""

    def case(gamma, lam, time=32, envs=3):
        rewards, values = rng.normal(size=(2, time, envs))
        terminated = rng.random((time, envs)) < 0.08
        truncated = rng.random((time, envs)) < 0.08  # with `terminated` at times
        ended = terminated | truncated
        # Within an episode, V(s') is the value of the next row; else of the final observation.
        next_values = rng.normal(size=(time, envs))
        next_values[:-1] = np.where(ended[:-1], next_values[:-1], values[1:])
        deltas = rewards + gamma * np.where(terminated, 0.0, next_values) - values
        advantages = np.zeros((time, envs))
        for env in range(envs):
            for start in range(time):
                for step in range(start, time):
                    advantages[start, env] += (gamma * lam) ** (step - start) * deltas[step, env]
                    if ended[step, env]:
                        break
        arrays = {
            "rewards": rewards,
            "values": values,
            "next_values": next_values,
            "terminated": terminated,
            "truncated": truncated,
            "advantages": advantages,
            "returns": advantages + values,
        }
        return {"gamma": gamma, "lam": lam} | {key: a.tolist() for key, a in arrays.items()}

    source = (
        "numpy float64, summed from the definition; arrays are [time][env]; "
        "next_values is V(final observation) where an episode ended"
    )
    return {"source": source, "cases": [case(*c) for c in GAE_CASES]}


# ----------------------------------------------------------------------------------- policy_update

# Distribution, layer sizes, samples, max_kl, damping. The large max_kl make line searches refuse.
POLICY_CASES = [
    ("categorical", [4, 8, 8, 2], 32, 0.01, 0.1),
    ("categorical", [5, 16, 4], 40, 2.0, 0.01),
    ("gaussian", [3, 8, 8, 1], 32, 0.05, 0.1),
    ("gaussian", [6, 2], 24, 5.0, 0.001),
]
CLIP_RANGE, ENTROPY_COEF = 0.2, 0.01
BACKTRACK, LINE_SEARCH_STEPS = 0.8, 10


def policy(distribution, sizes, theta, obs):
    """The distribution of actions. theta: per layer W [in][out] row-major, then b [out];
    gaussian: then one log standard deviation per action."""
    import torch
    from torch.distributions import Categorical, Independent, Normal

    offset, x = 0, obs
    for layer, (n_in, n_out) in enumerate(zip(sizes, sizes[1:])):
        weight = theta[offset : offset + n_in * n_out].reshape(n_in, n_out)
        bias = theta[offset + n_in * n_out : offset + (n_in + 1) * n_out]
        offset += (n_in + 1) * n_out
        x = x @ weight + bias
        if layer < len(sizes) - 2:
            x = torch.tanh(x)
    if distribution == "categorical":
        assert offset == len(theta)
        return Categorical(logits=x)
    assert offset + sizes[-1] == len(theta)
    return Independent(Normal(x, theta[offset:].exp().expand_as(x)), 1)


def policy_results(inputs, max_kl, damping, vector):
    """What PPO and TRPO make of a case's inputs. The Fisher matrix is the Hessian of the mean KL, by
    double backward."""
    import torch
    from torch.distributions import kl_divergence

    keys = ("theta", "obs", "actions", "old_theta", "old_log_prob", "advantages")
    theta, obs, actions, old_theta, old_log_prob, advantages = (
        torch.tensor(inputs[key]) for key in keys
    )

    def at(parameters):
        return policy(inputs["distribution"], inputs["layer_sizes"], parameters, obs)

    # PPO, at theta, for data of old_theta.
    point = theta.clone().requires_grad_()
    new = at(point)
    log_prob = new.log_prob(actions)
    ratio = (log_prob - old_log_prob).exp()
    clipped = ratio.clamp(1 - CLIP_RANGE, 1 + CLIP_RANGE)
    objective = torch.minimum(ratio * advantages, clipped * advantages).mean()
    entropy = new.entropy().mean()
    loss = -objective - ENTROPY_COEF * entropy
    (ppo_gradient,) = torch.autograd.grad(loss, point)
    ppo = {
        "clip_range": CLIP_RANGE,
        "entropy_coef": ENTROPY_COEF,
        "clipped_objective": objective.item(),
        "entropy": entropy.item(),
        "loss": loss.item(),
        "gradient": ppo_gradient.tolist(),
        "kl_old_new": kl_divergence(at(old_theta), new).mean().item(),
        "log_prob": log_prob.tolist(),
    }

    # TRPO, where theta is itself the old policy.
    fixed = at(theta)
    fixed_log_prob = fixed.log_prob(actions)

    def surrogate(at_theta):
        return ((at(at_theta).log_prob(actions) - fixed_log_prob).exp() * advantages).mean()

    def mean_kl(at_theta):
        return kl_divergence(fixed, at(at_theta)).mean()

    def fisher_vector_product(vector):
        point = theta.clone().requires_grad_()
        (first,) = torch.autograd.grad(mean_kl(point), point, create_graph=True)
        (second,) = torch.autograd.grad(first @ vector, point)
        return second

    point = theta.clone().requires_grad_()
    start = surrogate(point)
    (gradient,) = torch.autograd.grad(start, point)
    start = start.item()
    vector = torch.tensor(vector)
    fisher = torch.stack([fisher_vector_product(row) for row in torch.eye(len(theta))])
    damped = fisher + damping * torch.eye(len(theta))
    natural_step = torch.linalg.solve(damped, gradient)
    step_scale = torch.sqrt(2 * max_kl / (natural_step @ damped @ natural_step))
    full_step = step_scale * natural_step
    line_search, fraction = [], 1.0
    for _ in range(LINE_SEARCH_STEPS):
        candidate = theta + fraction * full_step
        new_surrogate, kl = surrogate(candidate).item(), mean_kl(candidate).item()
        accept = new_surrogate >= start and kl <= max_kl
        entry = {"fraction": fraction, "surrogate": new_surrogate, "kl": kl, "accept": accept}
        line_search.append(entry)
        fraction *= BACKTRACK
    trpo = {
        "max_kl": max_kl,
        "damping": damping,
        "surrogate": start,
        "gradient": gradient.tolist(),
        "vector": vector.tolist(),
        "fisher_vector_product": fisher_vector_product(vector).tolist(),
        "natural_step_exact": natural_step.tolist(),
        "step_scale": step_scale.item(),
        "full_step": full_step.tolist(),
        "line_search": line_search,
    }
    return {"ppo": ppo, "trpo": trpo}


def policy_update(rng):
    """PyTorch in float64."""
    import torch

    torch.set_default_dtype(torch.float64)

    def random_theta(distribution, sizes):
        parts = []
        for n_in, n_out in zip(sizes, sizes[1:]):
            parts.append(rng.normal(0.0, 1.0 / math.sqrt(n_in), n_in * n_out))
            parts.append(rng.normal(0.0, 0.1, n_out))
        if distribution == "gaussian":
            parts.append(rng.normal(-0.3, 0.3, sizes[-1]))
        return np.concatenate(parts)

    def draw(distribution, sizes, samples):
        old_theta = torch.tensor(random_theta(distribution, sizes))
        theta = old_theta + torch.tensor(rng.normal(0.0, 0.05, len(old_theta)))
        obs = torch.tensor(rng.normal(size=(samples, sizes[0])))
        torch.manual_seed(int(rng.integers(2**31)))
        old = policy(distribution, sizes, old_theta, obs)
        actions = old.sample()
        return {
            "distribution": distribution,
            "layer_sizes": sizes,
            "activation": "tanh",
            "theta": theta.tolist(),
            "obs": obs.tolist(),
            "actions": actions.tolist(),
            "old_theta": old_theta.tolist(),
            "old_log_prob": old.log_prob(actions).tolist(),
            "advantages": rng.normal(size=samples).tolist(),
        }

    def case(distribution, sizes, samples, max_kl, damping):
        inputs = draw(distribution, sizes, samples)
        vector = rng.normal(size=len(inputs["theta"]))
        return inputs | policy_results(inputs, max_kl, damping, vector)

    source = (
        f"torch {torch.__version__} float64. theta is flat: per layer W [in][out] row-major, then "
        "b [out]; a gaussian policy appends its log standard deviations. TRPO cases take theta "
        "itself as the old policy."
    )
    return {"source": source, "cases": [case(*c) for c in POLICY_CASES]}


# ------------------------------------------------------------------------------------------- costs


def costs(rng):
    """PyTorch in float64: gradients of the surrogate of a cost, and of a Lagrangian's."""
    import torch

    def case(case, multiplier):
        cost_advantages = rng.normal(size=len(case["advantages"]))
        inputs = {key: torch.tensor(case[key]) for key in ("theta", "obs", "actions", "advantages")}

        def gradient(advantages):
            theta = inputs["theta"].clone().requires_grad_()
            new = policy(case["distribution"], case["layer_sizes"], theta, inputs["obs"])
            log_prob = new.log_prob(inputs["actions"])
            surrogate = ((log_prob - log_prob.detach()).exp() * advantages).mean()
            return torch.autograd.grad(surrogate, theta)[0].tolist()

        of_cost = torch.tensor(cost_advantages)
        return {
            "inputs": case,
            "cost_advantages": cost_advantages.tolist(),
            "multiplier": multiplier,
            "cost_gradient": gradient(of_cost),
            "lagrangian_gradient": gradient(inputs["advantages"] - multiplier * of_cost),
        }

    updates = policy_update(rng)
    cases = [case(*pair) for pair in zip(updates["cases"], (0.0, 0.3, 2.0, 30.0))]
    return {"source": f"torch {torch.__version__} float64, at theta, which is the old policy.", "cases": cases}


# --------------------------------------------------------------------------------------------- cpo


def cpo(rng):
    """CPO's subproblem as it is stated, by a solver of convex programs. Where no step in the trust
    region keeps the constraint, the step in it that lowers the cost most."""
    import cvxpy

    def short(numbers):
        """Few digits, so that the file is small and holds exactly what was solved."""
        return np.round(numbers, 3)

    def solved(objective, constraints):
        problem = cvxpy.Problem(cvxpy.Maximize(objective), constraints)
        accuracy = {"tol_gap_abs": 1e-14, "tol_gap_rel": 1e-14, "tol_feas": 1e-14}
        problem.solve(solver=cvxpy.CLARABEL, max_iter=500, **accuracy)
        return problem.status

    def case():
        n = int(rng.integers(2, 5))
        root = rng.normal(size=(n, n))
        hessian = short(root @ root.T / n + 0.5 * np.eye(n))
        delta = short(math.exp(rng.uniform(math.log(0.002), math.log(0.05))))
        g, b = short(rng.normal(size=(2, n)))
        # As far from the limit as a step can move the cost, and somewhat farther.
        reach = math.sqrt(2 * delta * b @ np.linalg.solve(hessian, b))
        c = short(rng.uniform(-1.3, 1.3) * reach)
        x = cvxpy.Variable(n)
        in_region = cvxpy.norm(np.linalg.cholesky(hessian).T @ x) <= math.sqrt(2 * delta)
        status = solved(g @ x, [in_region, c + b @ x <= 0])
        recovery = "infeasible" in status
        if recovery:
            status = solved(-(b @ x), [in_region])
        assert status in ("optimal", "optimal_inaccurate"), status
        numbers = {"c": c, "delta": delta}
        arrays = {"g": g, "b": b, "hessian": hessian, "x": x.value.round(9)}
        return (
            {key: float(number) for key, number in numbers.items()}
            | {key: array.tolist() for key, array in arrays.items()}
            | {"recovery": recovery}
        )

    source = (
        f"cvxpy {cvxpy.__version__} with Clarabel: maximise g'x subject to c + b'x <= 0 and "
        "x'Hx / 2 <= delta; recovery: minimise b'x subject to the latter"
    )
    return {"source": source, "cases": [case() for _ in range(400)]}


# --------------------------------------------------------------------------------------------- arm

HERE = pathlib.Path(__file__).parent
#: Of each robot: its file, the tip, the armature of its joints.
ROBOTS = {
    "panda": ("configs/robots/panda.urdf", "panda_hand_tcp", 0.1),
    "ur5": ("configs/robots/ur5.urdf", "tool0", 0.1),
    "xarm7": ("configs/robots/xarm7.urdf", "link_eef", 0.1),
    "so101": ("configs/robots/so101.urdf", "gripper_frame_link", 0.02),
    "slides": ("tests/reference/robots/slides.urdf", "hook", 0.05),
    "branches": ("tests/reference/robots/branches.urdf", "left_hand", 0.05),
    "mimic": ("tests/reference/robots/mimic.urdf", "grip_point", 0.05),
}
TIME_STEP = 0.002


def robot_file(robot):
    return HERE / "../.." / ROBOTS[robot][0]


def arm_case(rng, robot, integrator, control="torque", limits=False, friction=0.0, steps=25):
    """A robot in MuJoCo. The joints that follow others are no coordinates: MuJoCo has them as soft
    constraints, so a model without them gives mass matrix and bias forces, from which the motion follows
    by projection."""
    import mujoco
    import xml.etree.ElementTree as xml

    _, tip, armature = ROBOTS[robot]
    root = xml.parse(robot_file(robot)).getroot()
    options = xml.SubElement(xml.SubElement(root, "mujoco"), "compiler")
    options.attrib |= {"fusestatic": "false", "discardvisual": "true", "balanceinertia": "false"}
    follows, efforts = {}, {}
    for joint in root.findall("joint"):
        mimic, limit = joint.find("mimic"), joint.find("limit")
        if limit is not None:
            efforts[joint.get("name")] = float(limit.get("effort"))
        if mimic is not None:
            numbers = float(mimic.get("multiplier", 1)), float(mimic.get("offset", 0))
            follows[joint.get("name")] = (mimic.get("joint"), *numbers)
            joint.remove(mimic)
    spec = mujoco.MjSpec.from_string(xml.tostring(root, encoding="unicode"))
    spec.option.timestep = TIME_STEP
    spec.option.integrator = {
        "implicitfast": mujoco.mjtIntegrator.mjINT_IMPLICITFAST,
        "rk4": mujoco.mjtIntegrator.mjINT_RK4,
    }[integrator]
    # Solved to convergence.
    spec.option.tolerance, spec.option.iterations = 0, 200
    spec.option.ls_tolerance, spec.option.ls_iterations = 0, 200
    spec.option.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_CONTACT)
    spec.option.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_WARMSTART)
    if not limits:
        spec.option.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_LIMIT)
    damping = 1.0
    servo = None
    names = [joint.name for joint in spec.joints]
    leaders = [name for name in names if name not in follows]
    for joint in spec.joints:
        held = joint.name in follows
        joint.armature = 0.0 if held else armature
        joint.damping = np.array([0.0 if held else damping, 0.0, 0.0])
        joint.frictionloss = 0.0 if held else friction
    if control == "position":
        kp = [float(kp) for kp in rng.uniform(200, 1000, len(leaders)).round(1)]
        servo = {
            "kp": kp,
            "kv": [round(0.02 * kp, 3) for kp in kp],
            "force": [efforts.get(name, 50.0) for name in leaders],
        }
        for name, kp, kv, force in zip(leaders, servo["kp"], servo["kv"], servo["force"]):
            motor = spec.add_actuator(name=name, target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
            motor.set_to_position(kp=kp, kv=kv)
            motor.forcerange, motor.forcelimited = np.array([-force, force]), True
    model = spec.compile()
    data = mujoco.MjData(model)
    dofs = [int(model.joint(name).dofadr[0]) for name in leaders]
    count = model.nv

    # All positions as `spread q + offsets`.
    spread, offsets = np.zeros((count, len(leaders))), np.zeros(count)
    for name in names:
        leader, multiplier, offset = follows.get(name, (name, 1.0, 0.0))
        dof = int(model.joint(name).dofadr[0])
        spread[dof, leaders.index(leader)], offsets[dof] = multiplier, offset

    def accelerations(q, v, torque, implicit):
        """Of the leaders; with damping at the end of the step where it is implicit."""
        data.qpos[:], data.qvel[:] = spread @ q + offsets, spread @ v
        data.qfrc_applied[:] = 0.0
        mujoco.mj_forward(model, data)
        mass = np.zeros((count, count))
        mujoco.mj_fullM(model, data, mass)
        mass = spread.T @ mass @ spread + implicit * TIME_STEP * damping * np.eye(len(leaders))
        force = torque - damping * v - spread.T @ data.qfrc_bias
        return np.linalg.solve(mass, force)

    def projected(q, v, torque):
        h = TIME_STEP
        if integrator == "implicitfast":
            after = v + h * accelerations(q, v, torque, True)
            return q + h * after, after
        a1 = accelerations(q, v, torque, False)
        v2 = v + h / 2 * a1
        a2 = accelerations(q + h / 2 * v, v2, torque, False)
        v3 = v + h / 2 * a2
        a3 = accelerations(q + h / 2 * v2, v3, torque, False)
        v4 = v + h * a3
        a4 = accelerations(q + h * v3, v4, torque, False)
        return q + h / 6 * (v + 2 * (v2 + v3) + v4), v + h / 6 * (a1 + 2 * (a2 + a3) + a4)

    ranges = np.array([model.joint(name).range for name in leaders])
    limited = np.array([bool(model.jnt_limited[model.joint(name).id]) for name in leaders])
    ranges[~limited] = (-math.pi, math.pi)
    width = ranges[:, 1] - ranges[:, 0]
    recorded, active = [], 0
    while len(recorded) < steps:
        # Half of the joints at or beyond a limit, where there are limits.
        q = rng.uniform(ranges[:, 0], ranges[:, 1])
        if limits:
            side = rng.integers(0, 2, len(leaders))
            beyond = np.where(side, 1, -1) * rng.uniform(-0.001, 0.003, len(leaders)) * width
            at_limit = ranges[np.arange(len(leaders)), side] + beyond
            q = np.where(rng.uniform(size=len(leaders)) < 0.5, at_limit, q)
        v = rng.uniform(-1.5, 1.5, len(leaders))
        mujoco.mj_resetData(model, data)
        if control == "position":
            inputs = q + rng.normal(0.0, 0.1, len(leaders))
        else:
            inputs = rng.uniform(-1.0, 1.0, len(leaders)) * [efforts.get(name, 30.0) for name in leaders]
        data.qpos[:], data.qvel[:] = spread @ q + offsets, spread @ v
        mujoco.mj_forward(model, data)
        body = data.body(tip)
        pose = {"tip_position": body.xpos.tolist(), "tip_rotation": body.xmat.tolist()}
        if follows:
            next_q, next_v = projected(q, v, inputs)
        else:
            if control == "position":
                data.ctrl[:] = inputs
            else:
                data.qfrc_applied[dofs] = inputs
            mujoco.mj_step(model, data)
            active += int(data.nefc > 0)
            next_q, next_v = data.qpos[dofs], data.qvel[dofs]
        state = {"q": q, "v": v, "input": inputs, "next_q": next_q, "next_v": next_v}
        recorded.append({key: numbers.tolist() for key, numbers in state.items()} | pose)
    return {
        "robot": robot,
        "urdf": robot_file(robot).name,
        "integrator": integrator,
        "time_step": TIME_STEP,
        "gravity": model.opt.gravity.tolist(),
        "joints": leaders,
        "armature": armature,
        "damping": damping,
        "friction_loss": friction,
        "joint_limits": limits,
        "control": control,
        "servo": servo,
        "tip": tip,
        "steps_with_active_constraints": active,
        "steps": recorded,
    }


def arm_cases(rng, robots):
    import mujoco

    kinds = [{}, {"limits": True}, {"limits": True, "friction": 2.0}, {"limits": True, "control": "position"}]
    cases = []
    for robot in robots:
        for integrator in ("implicitfast", "rk4"):
            for kind in kinds[:1] if robot == "mimic" else kinds:
                cases.append(arm_case(rng, robot, integrator, **kind))
    source = f"MuJoCo {mujoco.__version__}, each step from a state of its own"
    return {"source": source, "cases": cases}


def arm(rng):
    """Arms that one can buy."""
    return arm_cases(rng, ["panda", "ur5", "xarm7", "so101"])


def arm_joints(rng):
    """Kinds of joints that those have not: such that slide, that follow others, and on branches."""
    return arm_cases(rng, ["slides", "branches", "mimic"])


# -------------------------------------------------------------------------------------------- main

MAKERS = [cartpole, pendulum, reach, gae, policy_update, cpo, arm, arm_joints, costs]


def main():
    names = [maker.__name__ for maker in MAKERS]
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("output", type=pathlib.Path, help="directory for the files; made if missing")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (default 0)")
    parser.add_argument(
        "--files", nargs="+", choices=names, default=names, help="which to make (default: all)"
    )
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    for index, maker in enumerate(MAKERS):
        if maker.__name__ in arguments.files:
            # A generator of its own, so that a file doesn't depend on which others are made.
            reference = maker(np.random.default_rng([arguments.seed, index]))
            path = arguments.output / f"{maker.__name__}.json"
            path.write_text(json.dumps(reference) + "\n")
            print(f"{path}: {len(reference['cases'])} cases", file=sys.stderr)
            for robot in {case["robot"] for case in reference["cases"] if "robot" in case}:
                place = arguments.output / "robots" / robot_file(robot).name
                if not (place.exists() and place.samefile(robot_file(robot))):
                    place.parent.mkdir(exist_ok=True)
                    shutil.copy(robot_file(robot), place)


if __name__ == "__main__":
    main()
