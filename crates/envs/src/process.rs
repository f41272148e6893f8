//! Environments in other processes, whatever they are written in: Gymnasium's, a simulator in C++, a robot.
//!
//! A process has a share of the copies, which it steps in one message; all processes work side by side.
//! What is said, and why it is said like that, stands in docs/process.md.

mod connection;
mod hello;

use crate::drawing::{Drawing, Frame};
use crate::environment::{Environment, Spec, StateError, Step};
use crate::parameters::{ParameterError, Resolved, parse};
use crate::rng::Rng;
use crate::space::Action;
use crate::task::Maker;
use connection::{Connection, Kind};
use hello::Hello;
use rand::RngExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What can be said of environments in other processes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProcessParameters {
    /// The program that has the environment, and its arguments; it is run in the current directory.
    pub command: Vec<String>,
    /// Processes that share the copies.
    #[schemars(range(min = 1, max = 256))]
    pub processes: usize,
    /// How long a process may take until it says what it is.
    #[schemars(range(min = 0.1, max = 86_400), extend("unit" = "s"))]
    pub start_timeout: f64,
    /// How long a process may take for an answer.
    #[schemars(range(min = 0.1, max = 86_400), extend("unit" = "s"))]
    pub answer_timeout: f64,
}

impl Default for ProcessParameters {
    fn default() -> Self {
        ProcessParameters {
            command: Vec::new(),
            processes: 1,
            start_timeout: 60.0,
            answer_timeout: 60.0,
        }
    }
}

/// Starts a first process, which says what the environment is; further ones are started when there are
/// copies for them.
///
/// # Errors
/// When it can't be started, or is nothing that can be trained in.
pub(crate) fn build(resolved: Resolved) -> Result<(Maker, Spec), ParameterError> {
    if let Some(draw) = resolved.draws.first() {
        return Err(ParameterError::at(draw.path.join("."), "can't be drawn for each episode"));
    }
    let parameters: ProcessParameters = parse(&resolved.values)?;
    if parameters.command.is_empty() {
        let message = "is empty; give a program and its arguments, such as \
                       [\"python3\", \"-m\", \"backburn_env\", \"CartPole-v1\"]";
        return Err(ParameterError::at("command", message));
    }
    let wrong =
        |message: String| ParameterError::at("command", format!("does not work: {message}"));
    let (start, answer) = parameters.timeouts();
    let mut connection = Connection::start(&parameters.command, 0).map_err(wrong)?;
    let hello = connection.hello(start, answer).map_err(wrong)?;
    let spec = hello.spec();
    let processes = Mutex::new(vec![Process::new(connection)]);
    let pool = Arc::new(Pool { parameters, hello, spec: spec.clone(), processes });
    let maker = move |copies: usize| {
        let fleet = Arc::new(Mutex::new(Fleet::new(&pool, copies)));
        let copy = |row| -> Box<dyn Environment> {
            Box::new(Proxy { fleet: Arc::clone(&fleet), row, has_begun: false })
        };
        (0..copies).map(copy).collect()
    };
    Ok((Arc::new(maker), spec))
}

impl ProcessParameters {
    /// Of the start, and of an answer.
    fn timeouts(&self) -> (Duration, Duration) {
        let seconds = Duration::from_secs_f64;
        (seconds(self.start_timeout), seconds(self.answer_timeout))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The processes of a task; they end when it and all copies are gone.
struct Pool {
    parameters: ProcessParameters,
    hello: Hello,
    spec: Spec,
    processes: Mutex<Vec<Arc<Mutex<Process>>>>,
}

/// A process, and which of its copies are in use.
struct Process {
    connection: Connection,
    free: Vec<u32>,
    copies: u32,
}

impl Process {
    fn new(connection: Connection) -> Arc<Mutex<Process>> {
        Arc::new(Mutex::new(Process { connection, free: Vec::new(), copies: 0 }))
    }

    /// A copy that is not in use.
    fn take(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.copies += 1;
            self.copies - 1
        })
    }
}

impl Pool {
    /// So many processes, started if need be, all at once.
    fn processes(&self, count: usize) -> Result<Vec<Arc<Mutex<Process>>>, String> {
        let mut processes = lock(&self.processes);
        let (start, answer) = self.parameters.timeouts();
        let started: Result<Vec<Connection>, String> = (processes.len()..count)
            .map(|index| Connection::start(&self.parameters.command, index))
            .collect();
        for mut connection in started? {
            if connection.hello(start, answer)? != self.hello {
                return Err(connection.fail("is another environment than process 0"));
            }
            processes.push(Process::new(connection));
        }
        Ok(processes[..count].to_vec())
    }
}

/// What a copy waits for.
#[derive(Clone, Copy, PartialEq)]
enum Asked {
    /// Nothing: its last answer is there.
    Nothing,
    /// A step or a new episode, once the request is sent.
    Queued(Kind),
    /// The answer to a request that was sent.
    Sent,
}

/// The copies that one process has of those of a fleet.
struct Share {
    process: Arc<Mutex<Process>>,
    /// Its rows in the fleet.
    rows: Range<usize>,
    /// What the process calls each of them.
    copies: Vec<u32>,
    /// How many wait for a request to be sent.
    queued: usize,
    /// The request that waits for its answer: kind, number, rows.
    sent: Option<(Kind, u32)>,
    sent_rows: Vec<usize>,
}

/// Copies that are made, and as a rule stepped, together. Rows `[copy]` of everything.
struct Fleet {
    spec: Spec,
    frame_seconds: Option<f64>,
    shares: Vec<Share>,
    /// The share of each copy.
    share_of: Vec<usize>,
    asked: Vec<Asked>,
    actions: Vec<f32>,
    seeds: Vec<u32>,
    observations: Vec<f32>,
    steps: Vec<Step>,
    reward_terms: Vec<f64>,
    costs: Vec<f64>,
    failure: Option<String>,
}

impl Fleet {
    fn new(pool: &Pool, copies: usize) -> Fleet {
        let spec = pool.spec.clone();
        let mut fleet = Fleet {
            frame_seconds: pool.hello.frame_seconds,
            shares: Vec::new(),
            share_of: vec![0; copies],
            asked: vec![Asked::Nothing; copies],
            actions: vec![0.0; copies * spec.action_space.width()],
            seeds: vec![0; copies],
            observations: vec![0.0; copies * spec.observation_space.width()],
            steps: vec![Step::default(); copies],
            reward_terms: vec![0.0; copies * spec.reward_terms.len()],
            costs: vec![0.0; copies * spec.costs.len()],
            failure: None,
            spec,
        };
        let count = pool.parameters.processes.min(copies);
        match pool.processes(count) {
            Err(failure) => fleet.failure = Some(failure),
            Ok(processes) => {
                for (index, process) in processes.into_iter().enumerate() {
                    let rows = index * copies / count..(index + 1) * copies / count;
                    fleet.share_of[rows.clone()].fill(index);
                    let mut taken = lock(&process);
                    let mut copies: Vec<u32> = rows.clone().map(|_| taken.take()).collect();
                    copies.sort_unstable();
                    drop(taken);
                    let sent_rows = Vec::with_capacity(rows.len());
                    fleet.shares.push(Share {
                        process,
                        rows,
                        copies,
                        queued: 0,
                        sent: None,
                        sent_rows,
                    });
                }
            }
        }
        fleet
    }

    /// Asks for something; the request is sent once all copies of a process have asked, or somebody
    /// waits.
    fn ask(&mut self, row: usize, kind: Kind) {
        if self.failure.is_some() {
            return;
        }
        self.asked[row] = Asked::Queued(kind);
        let index = self.share_of[row];
        self.shares[index].queued += 1;
        if self.shares[index].queued == self.shares[index].copies.len() {
            self.attempt(|fleet| fleet.send(index));
        }
    }

    /// Waits until what was asked for is there.
    fn wait(&mut self, row: usize) {
        self.attempt(|fleet| {
            if matches!(fleet.asked[row], Asked::Queued(_)) {
                (0..fleet.shares.len()).try_for_each(|index| fleet.send(index))?;
            }
            match fleet.asked[row] {
                Asked::Sent => fleet.receive(fleet.share_of[row]),
                _ => Ok(()),
            }
        });
    }

    /// Does what may fail, and keeps the failure: nothing is asked any more then.
    fn attempt(&mut self, work: impl FnOnce(&mut Fleet) -> Result<(), String>) {
        if self.failure.is_none() {
            self.failure = work(self).err();
        }
    }

    /// Sends what is queued for a process.
    fn send(&mut self, index: usize) -> Result<(), String> {
        for kind in [Kind::Reset, Kind::Step] {
            if self.shares[index].queued == 0 {
                return Ok(());
            }
            let is_queued = |row: &usize| self.asked[*row] == Asked::Queued(kind);
            if !self.shares[index].rows.clone().any(|row| is_queued(&row)) {
                continue;
            }
            if self.shares[index].sent.is_some() {
                self.receive(index)?;
            }
            let Fleet { shares, asked, actions, seeds, spec, .. } = self;
            let share = &mut shares[index];
            let is_queued = |row: &usize| asked[*row] == Asked::Queued(kind);
            share.sent_rows.clear();
            share.sent_rows.extend(share.rows.clone().filter(is_queued));
            let mut process = lock(&share.process);
            let message = process.connection.request();
            for row in &share.sent_rows {
                message.extend(share.copies[row - share.rows.start].to_le_bytes());
            }
            let width = spec.action_space.width();
            for &row in &share.sent_rows {
                match kind {
                    Kind::Reset => message.extend(seeds[row].to_le_bytes()),
                    _ => {
                        let numbers = &actions[row * width..(row + 1) * width];
                        message.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
                    }
                }
            }
            share.sent = Some((kind, process.connection.send(kind)?));
            share.queued -= share.sent_rows.len();
            for &row in &share.sent_rows {
                asked[row] = Asked::Sent;
            }
        }
        Ok(())
    }

    /// Takes in the answer of a process.
    fn receive(&mut self, index: usize) -> Result<(), String> {
        let Fleet { spec, shares, asked, observations, steps, reward_terms, costs, .. } = self;
        let share = &mut shares[index];
        let Some((kind, number)) = share.sent.take() else { return Ok(()) };
        let mut process = lock(&share.process);
        let rows = &share.sent_rows;
        let width = spec.observation_space.width();
        let (terms, of_costs) = (spec.reward_terms.len(), spec.costs.len());
        let of_step = 8 * (1 + terms + of_costs) + 1;
        let of_copy = 4 * width + if kind == Kind::Step { of_step } else { 0 };
        let length = Some(rows.len() * of_copy);
        let mut payload = process.connection.receive(kind, number, length)?;
        let mut problem = None;
        if kind == Kind::Step {
            let rewards = take(&mut payload, 8 * rows.len());
            for (&row, bytes) in rows.iter().zip(rewards.chunks_exact(8)) {
                steps[row] = Step { reward: float(bytes), ..Step::default() };
                if !steps[row].reward.is_finite() {
                    problem.get_or_insert((row, "reward", steps[row].reward));
                }
            }
            let mut columns = |numbers: &mut [f64], width: usize, what: &'static str| {
                let bytes = take(&mut payload, 8 * width * rows.len());
                let rows = rows.iter().flat_map(|row| row * width..(row + 1) * width);
                for (index, bytes) in rows.zip(bytes.chunks_exact(8)) {
                    numbers[index] = float(bytes);
                    if !numbers[index].is_finite() {
                        problem.get_or_insert((index / width, what, numbers[index]));
                    }
                }
            };
            columns(reward_terms, terms, "term of its reward");
            columns(costs, of_costs, "cost");
        }
        let bytes = take(&mut payload, 4 * width * rows.len());
        for (&row, bytes) in rows.iter().zip(bytes.chunks_exact(4 * width)) {
            let numbers = &mut observations[row * width..(row + 1) * width];
            for (number, bytes) in numbers.iter_mut().zip(bytes.chunks_exact(4)) {
                *number = f32::from_le_bytes(bytes.try_into().unwrap_or_default());
            }
            if let Some(number) = numbers.iter().find(|number| !number.is_finite()) {
                problem.get_or_insert((row, "number of its observation", f64::from(*number)));
            }
        }
        for (&row, flags) in rows.iter().zip(payload) {
            steps[row].terminated = flags & 1 != 0;
            steps[row].truncated = flags & 2 != 0;
            steps[row].success = spec.reports_success.then_some(flags & 4 != 0);
        }
        for &row in rows {
            asked[row] = Asked::Nothing;
        }
        match problem {
            None => Ok(()),
            Some((row, what, number)) => {
                let copy = share.copies[row - share.rows.start];
                let what = format!("sent a {what} that is {number}, of its copy {copy}");
                Err(process.connection.fail(&what))
            }
        }
    }

    /// Asks a process about one copy: the payload of its answer.
    fn about(&self, row: usize, kind: Kind, numbers: &[f64]) -> Result<Vec<u8>, String> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let share = &self.shares[self.share_of[row]];
        let connection = &mut lock(&share.process).connection;
        let message = connection.request();
        message.extend(share.copies[row - share.rows.start].to_le_bytes());
        message.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        let number = connection.send(kind)?;
        connection.receive(kind, number, None).map(<[u8]>::to_vec)
    }

    fn observation(&mut self, row: usize) -> &mut [f32] {
        let width = self.spec.observation_space.width();
        &mut self.observations[row * width..(row + 1) * width]
    }
}

/// The first bytes of a payload, which has them.
fn take<'a>(payload: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (first, rest) = payload.split_at(count);
    *payload = rest;
    first
}

fn float(bytes: &[u8]) -> f64 {
    f64::from_le_bytes(bytes.try_into().unwrap_or_default())
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for share in &self.shares {
            lock(&share.process).free.extend(&share.copies);
        }
    }
}

/// A copy of an environment in another process, as the trainer has it.
struct Proxy {
    fleet: Arc<Mutex<Fleet>>,
    row: usize,
    /// Whether the step or the episode has been asked for.
    has_begun: bool,
}

impl Proxy {
    fn fleet(&self) -> MutexGuard<'_, Fleet> {
        lock(&self.fleet)
    }
}

impl Environment for Proxy {
    fn spec(&self) -> Spec {
        self.fleet().spec.clone()
    }

    fn begin_reset(&mut self, rng: &mut Rng) {
        let mut fleet = self.fleet();
        // Of 31 bits: more are no seed to some simulators.
        fleet.seeds[self.row] = rng.random_range(0..1 << 31);
        fleet.ask(self.row, Kind::Reset);
        drop(fleet);
        self.has_begun = true;
    }

    fn reset(&mut self, rng: &mut Rng) {
        if !std::mem::take(&mut self.has_begun) {
            self.begin_reset(rng);
            self.has_begun = false;
        }
        self.fleet().wait(self.row);
    }

    fn begin_step(&mut self, action: Action<'_>) {
        let mut fleet = self.fleet();
        let width = fleet.spec.action_space.width();
        let numbers = &mut fleet.actions[self.row * width..(self.row + 1) * width];
        match action {
            Action::Discrete(index) => numbers[0] = index as f32,
            Action::Continuous(given) => numbers.copy_from_slice(given),
        }
        fleet.ask(self.row, Kind::Step);
        drop(fleet);
        self.has_begun = true;
    }

    fn step(&mut self, action: Action<'_>, _rng: &mut Rng) -> Step {
        if !std::mem::take(&mut self.has_begun) {
            self.begin_step(action);
            self.has_begun = false;
        }
        let mut fleet = self.fleet();
        fleet.wait(self.row);
        fleet.steps[self.row]
    }

    fn failure(&self) -> Option<String> {
        self.fleet().failure.clone()
    }

    fn observe(&self, observation: &mut [f32]) {
        observation.copy_from_slice(self.fleet().observation(self.row));
    }

    fn reward_terms(&self, terms: &mut [f64]) {
        terms.copy_from_slice(&self.fleet().reward_terms[self.row * terms.len()..][..terms.len()]);
    }

    fn costs(&self, costs: &mut [f64]) {
        costs.copy_from_slice(&self.fleet().costs[self.row * costs.len()..][..costs.len()]);
    }

    /// Empty where the process keeps it to itself, or has failed.
    fn state(&self) -> Vec<f64> {
        let mut fleet = self.fleet();
        if !fleet.spec.saves_state {
            return Vec::new();
        }
        let answer = fleet.about(self.row, Kind::State, &[]);
        answer.map(|bytes| bytes.chunks_exact(8).map(float).collect()).unwrap_or_else(|failure| {
            fleet.failure = Some(failure);
            Vec::new()
        })
    }

    fn set_state(&mut self, state: &[f64]) -> Result<(), StateError> {
        let mut fleet = self.fleet();
        if !fleet.spec.saves_state {
            return StateError::read::<0>(state).map(drop);
        }
        let answer = fleet.about(self.row, Kind::SetState, state).map_err(StateError::Elsewhere)?;
        let observation = fleet.observation(self.row);
        let (expected, found) = (4 * observation.len(), answer.len());
        if found != expected {
            let what = format!("its answer has {found} bytes; an observation has {expected}");
            return Err(StateError::Elsewhere(what));
        }
        for (number, bytes) in observation.iter_mut().zip(answer.chunks_exact(4)) {
            *number = f32::from_le_bytes(bytes.try_into().unwrap_or_default());
        }
        Ok(())
    }

    /// The frame that the process renders, if it can; a failure is said by the next step.
    fn draw(&self, _action: Option<Action<'_>>) -> Option<Drawing> {
        let mut fleet = self.fleet();
        let seconds = fleet.frame_seconds?;
        match fleet.about(self.row, Kind::Frame, &[]) {
            Ok(bytes) => {
                let drawing = Frame::read(&bytes).map(|frame| frame.drawing(seconds));
                if drawing.is_none() {
                    // It can't here, for want of a display say.
                    fleet.frame_seconds = None;
                }
                drawing
            }
            Err(failure) => {
                fleet.failure = Some(failure);
                None
            }
        }
    }
}
