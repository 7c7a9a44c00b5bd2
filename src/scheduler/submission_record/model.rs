//! The protocol of `record.sh` and [`super::submit_once`] as a state machine, explored whole: two replicas are sent the same request again and
//! again, and each process may be killed between any two of its steps.
//!
//! It assumes of a scheduler that it takes what a process sent before the settling time after that process has ended, that it shows a job
//! once it has taken it, and that it says so where it may have forgotten one.

use std::collections::HashSet;

/// The number of requests and of kills in one run.
const REQUESTS: u8 = 4;
const KILLS: u8 = 3;

/// The parts of the protocol that a run may omit, to show that they are needed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    Settling,
    TheClaim,
    TheTag,
    /// Distinguishing a job that does not exist from one that may have been forgotten.
    BeingSure,
}

/// A process that submits, by its attempt.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Submitting {
    runs: bool,
    seen_dead: bool,
    settled: bool,
    /// The scheduler has yet to take what it sent.
    in_flight: bool,
}

/// The state of a request's command on the login node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Step {
    Read,
    Scan,
    ReadAgain(usize),
    Claim(usize),
    Send(usize),
    Wait(usize),
    /// Writes the id down, unless one is there: the file is opened and emptied, and then gets its line.
    Note,
    Open,
    Fill,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Command {
    replica: Option<usize>,
    after: usize,
    step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Replica {
    Idle,
    Waits,
    /// For the job of an attempt; whether that was settled before.
    Looks(usize, bool),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    attempts: Vec<Submitting>,
    id: bool,
    jobs: u8,
    /// Whether the scheduler has forgotten the jobs that it took.
    forgotten: bool,
    commands: Vec<Command>,
    replicas: [Replica; 2],
    answered: bool,
    requests: u8,
    kills: u8,
}

impl World {
    fn new() -> Self {
        Self {
            attempts: Vec::new(),
            id: false,
            jobs: 0,
            forgotten: false,
            commands: Vec::new(),
            replicas: [Replica::Idle; 2],
            answered: false,
            requests: REQUESTS,
            kills: KILLS,
        }
    }

    fn start(&mut self, replica: usize, after: usize) {
        self.replicas[replica] = Replica::Waits;
        self.commands.push(Command { replica: Some(replica), after, step: Step::Read });
    }

    /// The command ends, and its replica learns this.
    fn answer(&mut self, index: usize, state: Replica, answered: bool) {
        let command = self.commands.remove(index);
        if let Some(replica) = command.replica {
            self.replicas[replica] = state;
            self.answered |= answered;
        }
    }

    /// The next step of a command.
    fn step(&mut self, index: usize, without: Without) {
        let Command { after, step, .. } = self.commands[index];
        let next = match step {
            Step::Read | Step::ReadAgain(_) if self.id => return self.answer(index, Replica::Idle, true),
            Step::Read => Step::Scan,
            Step::Scan => match self.attempts.last_mut() {
                None => Step::Claim(1),
                Some(last) if last.runs => return self.answer(index, Replica::Idle, false),
                Some(last) => {
                    last.seen_dead = true;
                    Step::ReadAgain(self.attempts.len())
                }
            },
            Step::ReadAgain(last) if after != last => {
                let settled = self.attempts[last - 1].settled || without == Without::Settling;
                return self.answer(index, Replica::Looks(last, settled), false);
            }
            Step::ReadAgain(last) => Step::Claim(last + 1),
            Step::Claim(number) if self.attempts.len() >= number && without != Without::TheClaim => {
                return self.answer(index, Replica::Idle, false);
            }
            Step::Claim(_) => {
                self.attempts.push(Submitting { runs: true, seen_dead: false, settled: false, in_flight: false });
                Step::Send(self.attempts.len())
            }
            Step::Send(number) => {
                self.attempts[number - 1].in_flight = true;
                Step::Wait(number)
            }
            // The scheduler has to answer first.
            Step::Wait(number) if self.attempts[number - 1].in_flight => return,
            // sbatch has printed the id and ended; another process writes it down.
            Step::Wait(number) => {
                self.attempts[number - 1].runs = false;
                Step::Note
            }
            Step::Note if self.id => return self.answer(index, Replica::Idle, true),
            Step::Note => Step::Open,
            Step::Open => {
                self.id = false;
                Step::Fill
            }
            Step::Fill => {
                self.id = true;
                return self.answer(index, Replica::Idle, true);
            }
        };
        self.commands[index].step = next;
    }

    fn kill(&mut self, index: usize) {
        if let Step::Send(number) | Step::Wait(number) = self.commands[index].step {
            self.attempts[number - 1].runs = false;
        }
        self.answer(index, Replica::Idle, false);
    }

    fn look(&mut self, replica: usize, last: usize, settled: bool, without: Without) {
        self.replicas[replica] = Replica::Idle;
        if self.forgotten {
            // Nobody knows, and the client learns this.
            if settled && without == Without::BeingSure {
                self.start(replica, last);
            }
        } else if self.jobs > 0 && without != Without::TheTag {
            // The answer does not depend on what becomes of the command that writes the id down.
            self.answered = true;
            self.commands.push(Command { replica: None, after: last, step: Step::Note });
        } else if settled {
            self.start(replica, last);
        }
    }

    /// All that can happen next.
    fn successors(&self, without: Without) -> Vec<Self> {
        let mut next = Vec::new();
        let mut add = |change: &dyn Fn(&mut Self)| {
            let mut world = self.clone();
            change(&mut world);
            world.commands.sort();
            next.push(world);
        };
        for index in 0..self.commands.len() {
            add(&|world| world.step(index, without));
            if self.kills > 0 {
                add(&|world| {
                    world.kills -= 1;
                    world.kill(index);
                });
            }
        }
        for (index, attempt) in self.attempts.iter().enumerate() {
            if attempt.in_flight {
                add(&|world| {
                    world.attempts[index].in_flight = false;
                    world.jobs += 1;
                });
            }
            if attempt.in_flight && !attempt.runs {
                add(&|world| world.attempts[index].in_flight = false);
            }
            if attempt.seen_dead && !attempt.settled && !attempt.in_flight {
                add(&|world| world.attempts[index].settled = true);
            }
        }
        if self.jobs > 0 && !self.forgotten {
            add(&|world| world.forgotten = true);
        }
        for (replica, state) in self.replicas.into_iter().enumerate() {
            match state {
                Replica::Idle if self.requests > 0 => add(&|world| {
                    world.requests -= 1;
                    world.start(replica, 0);
                }),
                Replica::Looks(last, settled) => add(&|world| world.look(replica, last, settled, without)),
                Replica::Idle | Replica::Waits => {}
            }
            if state != Replica::Idle && self.kills > 0 {
                // The replica or its connection is gone; the command goes on.
                add(&|world| {
                    world.kills -= 1;
                    world.replicas[replica] = Replica::Idle;
                    for command in world.commands.iter_mut().filter(|command| command.replica == Some(replica)) {
                        command.replica = None;
                    }
                });
            }
        }
        next
    }

    /// Whether a client that keeps retrying finally receives the one job, when nothing is killed any more.
    fn ends_well(mut self) -> bool {
        (self.kills, self.requests, self.answered) = (0, 6, false);
        for _ in 0..400 {
            if self.answered && self.commands.is_empty() {
                return self.jobs == 1 && self.id;
            }
            // A step that changes nothing waits for the scheduler: what comes later in the list lets it go on.
            let next = self.successors(Without::Nothing).into_iter().find(|next| *next != self && next.forgotten == self.forgotten);
            match next {
                Some(next) => self = next,
                None => return false,
            }
        }
        false
    }
}

/// The number of states, or the first state with two jobs.
fn explore(without: Without, ends: bool) -> Result<usize, u8> {
    let mut seen = HashSet::new();
    let mut open = vec![World::new()];
    while let Some(world) = open.pop() {
        if world.jobs > 1 {
            return Err(world.jobs);
        }
        // The outcome of a forgotten job whose id was not written down cannot be determined; it is not submitted again.
        let is_known = !world.forgotten || world.id;
        assert!(!ends || !is_known || world.clone().ends_well(), "an id is lost: {world:?}");
        for next in world.successors(without) {
            if seen.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    Ok(seen.len())
}

#[test]
fn no_run_has_two_jobs_and_none_loses_the_id() {
    let states = explore(Without::Nothing, true).unwrap();
    assert!(states > 10_000, "{states}");
}

#[test]
fn each_part_of_the_protocol_is_needed() {
    for without in [Without::Settling, Without::TheClaim, Without::TheTag, Without::BeingSure] {
        assert!(explore(without, false).is_err());
    }
}
