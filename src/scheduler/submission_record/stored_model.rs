//! The protocol of [`super::stored`] as a state machine, explored whole: two replicas are sent the same request again and again, each attempt
//! and each replica may be killed between any two of its steps, what was sent may be taken after its sender has given it up, the end of an
//! attempt may fail to be recorded, the clock of the store may jump, and the scheduler may forget a job.
//!
//! It assumes of time what [`super::RecordSettings`] says: nothing that an attempt sent is taken any more once a replica has known of it for as long as
//! an attempt and the settling time take, nor once its claim has ended by a clock that did not jump.

use std::collections::HashSet;

/// How often requests are sent, something is killed or lost, and the clock jumps, in one run; fewer requests where it is looked at each state
/// whether a client is told in the end.
const REQUESTS: u8 = 6;
const FEWER_REQUESTS: u8 = 4;
const FAULTS: u8 = 2;
const JUMPS: u8 = 1;

/// The parts of the protocol that a run may omit, to show that they are needed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    /// Waiting until the attempt was known for long enough.
    KnowingForLong,
    /// Distinguishing a job that does not exist from one that cannot be determined.
    BeingSure,
    /// Looking for the job of an attempt that has ended.
    Looking,
    /// Taking an attempt without an answer for one that may have had an effect.
    NotKnowing,
    /// Forgetting the first attempt alone.
    ForgettingTheFirstAlone,
}

/// How long a replica has known of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Known {
    Not,
    AWhile,
    Long,
}

/// The requests of an attempt, and the replicas that know of its end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Sent {
    in_flight: bool,
    known: [Known; 2],
}

/// The claim in the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Claim {
    /// The number of the attempt.
    index: usize,
    /// Its number, as the store counts.
    number: usize,
    held: bool,
    done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Step {
    Send,
    Wait,
    Settle,
    Forget,
}

/// An attempt under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Task {
    replica: Option<usize>,
    index: usize,
    number: usize,
    step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Replica {
    Idle,
    /// Claims the next attempt after the one of this number.
    Claims(usize),
    /// Looks for the job of an attempt: which of all, its number, and whether it has known of it for long.
    Looks(usize, usize, bool),
    Waits,
}

/// Takes a possible next step, as a change to the world.
type Add<'a> = dyn FnMut(&dyn Fn(&mut World)) + 'a;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    sent: Vec<Sent>,
    claim: Option<Claim>,
    tasks: Vec<Task>,
    replicas: [Replica; 2],
    jobs: u8,
    forgotten: bool,
    answered: bool,
    requests: u8,
    faults: u8,
    jumps: u8,
}

impl World {
    fn new(requests: u8) -> Self {
        Self {
            sent: Vec::new(),
            claim: None,
            tasks: Vec::new(),
            replicas: [Replica::Idle; 2],
            jobs: 0,
            forgotten: false,
            answered: false,
            requests,
            faults: FAULTS,
            jumps: JUMPS,
        }
    }

    /// Whether an attempt neither sends anything any more nor says that it had no effect.
    fn has_stopped(&self, index: usize) -> bool {
        self.tasks.iter().all(|task| task.index != index || task.step == Step::Settle)
    }

    fn begin(&mut self, replica: usize, number: usize) {
        self.sent.push(Sent { in_flight: false, known: [Known::Not; 2] });
        let index = self.sent.len() - 1;
        self.claim = Some(Claim { index, number, held: true, done: false });
        self.tasks.push(Task { replica: Some(replica), index, number, step: Step::Send });
        self.replicas[replica] = Replica::Waits;
    }

    fn claim(&mut self, replica: usize, after: usize) {
        match self.claim.clone() {
            None => self.begin(replica, 1),
            Some(Claim { done: true, .. }) => self.answer(replica, true),
            Some(Claim { held: true, .. }) => self.answer(replica, false),
            Some(Claim { index, number, .. }) if number != after => {
                let known = &mut self.sent[index].known[replica];
                if *known == Known::Not {
                    *known = Known::AWhile;
                }
                self.replicas[replica] = Replica::Looks(index, number, *known == Known::Long);
            }
            Some(Claim { number, .. }) => self.begin(replica, number + 1),
        }
    }

    fn answer(&mut self, replica: usize, with_id: bool) {
        self.replicas[replica] = Replica::Idle;
        self.answered |= with_id;
    }

    fn look(&mut self, replica: usize, number: usize, for_long: bool, without: Without) {
        if self.jobs > 0 && !self.forgotten && without != Without::Looking {
            if let Some(claim) = &mut self.claim {
                claim.done = true;
            }
            self.answer(replica, true);
        } else if self.forgotten && without != Without::BeingSure {
            self.answer(replica, false);
        } else if for_long || without == Without::KnowingForLong {
            self.replicas[replica] = Replica::Claims(number);
        } else {
            self.answer(replica, false);
        }
    }

    /// The task ends, and its replica learns this.
    fn end(&mut self, index: usize, with_id: bool) {
        let task = self.tasks.remove(index);
        if let Some(replica) = task.replica {
            self.answer(replica, with_id);
        }
    }

    fn step(&mut self, index: usize, without: Without) {
        let Task { index: attempt, number, step, .. } = self.tasks[index].clone();
        match step {
            Step::Send => {
                self.sent[attempt].in_flight = true;
                self.tasks[index].step = Step::Wait;
            }
            Step::Wait => {}
            Step::Settle => {
                if let Some(claim) = &mut self.claim {
                    claim.done = true;
                }
                self.end(index, true);
            }
            Step::Forget => {
                let is_first = number == 1 || without == Without::ForgettingTheFirstAlone;
                if is_first && self.claim.as_ref().is_some_and(|claim| claim.number == number && !claim.done) {
                    self.claim = None;
                }
                self.end(index, false);
            }
        }
    }

    /// The possible next steps of the scheduler and of the tasks that wait for it.
    fn of_the_scheduler(&self, without: Without, add: &mut Add<'_>) {
        for index in (0..self.sent.len()).filter(|index| self.sent[*index].in_flight) {
            let waiting = self.tasks.iter().position(|task| task.index == index && task.step == Step::Wait);
            add(&|world| {
                world.sent[index].in_flight = false;
                world.jobs += 1;
                if let Some(task) = waiting {
                    world.tasks[task].step = Step::Settle;
                }
            });
            // It refuses, or the request is lost on the way.
            add(&|world| {
                world.sent[index].in_flight = false;
                if let Some(task) = waiting {
                    world.tasks[task].step = Step::Forget;
                }
            });
            if let Some(task) = waiting.filter(|_| self.faults > 0) {
                // The answer does not come in time.
                add(&|world| {
                    world.faults -= 1;
                    if without == Without::NotKnowing {
                        world.tasks[task].step = Step::Forget;
                    } else {
                        world.end(task, false);
                    }
                });
            }
        }
    }

    /// All that can happen next.
    fn successors(&self, without: Without) -> Vec<Self> {
        let mut next = Vec::new();
        let mut add = |change: &dyn Fn(&mut Self)| {
            let mut world = self.clone();
            change(&mut world);
            world.tasks.sort();
            next.push(world);
        };
        for index in 0..self.tasks.len() {
            add(&|world| world.step(index, without));
            if self.faults > 0 {
                // The process is killed, or the store does not take how it ended; the client may have the id.
                add(&|world| {
                    world.faults -= 1;
                    world.end(index, false);
                });
            }
        }
        self.of_the_scheduler(without, &mut add);
        if let Some(claim) = self.claim.as_ref().filter(|claim| claim.held) {
            let index = claim.index;
            if self.has_stopped(index) && !self.sent[index].in_flight {
                add(&|world| world.claim.as_mut().unwrap().held = false);
            }
            if self.jumps > 0 {
                add(&|world| {
                    world.jumps -= 1;
                    world.claim.as_mut().unwrap().held = false;
                });
            }
        }
        for (index, sent) in self.sent.iter().enumerate() {
            for replica in (0..2).filter(|replica| sent.known[*replica] == Known::AWhile) {
                if self.has_stopped(index) && !sent.in_flight {
                    add(&|world| world.sent[index].known[replica] = Known::Long);
                }
            }
        }
        for (replica, state) in self.replicas.into_iter().enumerate() {
            match state {
                Replica::Claims(after) => add(&|world| world.claim(replica, after)),
                Replica::Looks(_, number, for_long) => add(&|world| world.look(replica, number, for_long, without)),
                Replica::Idle if self.requests > 0 => add(&|world| {
                    world.requests -= 1;
                    world.claim(replica, 0);
                }),
                Replica::Idle | Replica::Waits => {}
            }
            if matches!(state, Replica::Claims(_) | Replica::Looks(..)) && self.faults > 0 {
                add(&|world| {
                    world.faults -= 1;
                    world.replicas[replica] = Replica::Idle;
                });
            }
        }
        if self.jobs > 0 && !self.forgotten {
            add(&|world| world.forgotten = true);
        }
        next
    }

    /// Whether a client that keeps retrying finally receives the one job, when nothing fails any more.
    fn ends_well(mut self) -> bool {
        (self.faults, self.jumps, self.requests, self.answered) = (0, 0, 8, false);
        for _ in 0..400 {
            if self.answered && self.tasks.is_empty() {
                return self.jobs == 1;
            }
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
fn explore(without: Without, requests: u8) -> Result<usize, Box<World>> {
    let mut seen = HashSet::new();
    let mut open = vec![World::new(requests)];
    while let Some(world) = open.pop() {
        if world.jobs > 1 {
            return Err(Box::new(world));
        }
        // The outcome of a forgotten job cannot be determined; it is not submitted again.
        let may_be_told = !world.forgotten || world.claim.as_ref().is_some_and(|claim| claim.done);
        let is_looked_at = without == Without::Nothing && requests == FEWER_REQUESTS && may_be_told;
        assert!(!is_looked_at || world.clone().ends_well(), "an id is lost: {world:?}");
        for next in world.successors(without) {
            if seen.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    Ok(seen.len())
}

#[test]
fn with_the_record_in_the_store_no_run_has_two_jobs_and_none_loses_the_id() {
    for (requests, least) in [(FEWER_REQUESTS, 5_000), (REQUESTS, 40_000)] {
        let states = explore(Without::Nothing, requests).unwrap_or_else(|world| panic!("two jobs: {world:?}"));
        assert!(states > least, "{states}");
    }
}

#[test]
fn each_part_of_the_protocol_with_the_store_is_needed() {
    let parts = [Without::KnowingForLong, Without::BeingSure, Without::Looking, Without::NotKnowing, Without::ForgettingTheFirstAlone];
    for (index, without) in parts.into_iter().enumerate() {
        assert!(explore(without, REQUESTS).is_err(), "part {index}");
    }
}
