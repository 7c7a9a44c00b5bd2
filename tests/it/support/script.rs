//! The behaviour of a backend in a test, as data: calls with their replies, in order. A script that is not used up fails the test.

use std::collections::VecDeque;
use std::sync::Mutex;

/// The script of one backend.
pub struct Script<R> {
    name: &'static str,
    steps: Mutex<VecDeque<(String, R)>>,
}

impl<R> Script<R> {
    /// A script of these calls. Of a call that ends with `...`, only the part before is compared.
    pub fn new<C: Into<String>>(name: &'static str, steps: impl IntoIterator<Item = (C, R)>) -> Self {
        Self { name, steps: Mutex::new(steps.into_iter().map(|(call, reply)| (call.into(), reply)).collect()) }
    }

    /// The reply of the next step, which has to be this call.
    pub fn next(&self, call: &str) -> R {
        let step = self.steps.lock().unwrap().pop_front();
        let Some((expected, reply)) = step else { panic!("the {} is not in the script: {call}", self.name) };
        assert!(is_meant(&expected, call), "the {} was called otherwise:\n{call}\nexpected: {expected}", self.name);
        reply
    }

    /// The reply of the first step that is this call, for backends that are called in any order.
    pub fn next_of(&self, call: &str) -> R {
        let mut steps = self.steps.lock().unwrap();
        let found = steps.iter().position(|(expected, _)| is_meant(expected, call)).and_then(|at| steps.remove(at));
        let Some((_, reply)) = found else {
            panic!("the {} is not in the script: {call}\nleft: {:#?}", self.name, steps.iter().map(|(call, _)| call).collect::<Vec<_>>())
        };
        reply
    }
}

fn is_meant(expected: &str, call: &str) -> bool {
    expected.strip_suffix("...").map_or(expected == call, |start| call.starts_with(start))
}

impl<R> Drop for Script<R> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let left: Vec<String> = self.steps.get_mut().unwrap().drain(..).map(|(call, _)| call).collect();
            assert!(left.is_empty(), "the script of the {} was not used up: {left:#?}", self.name);
        }
    }
}
