//! Names of which one at a time is changed, on threads that may wait.

use std::collections::BTreeSet;

use parking_lot::{Condvar, Mutex};

/// The names that somebody changes at the moment.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    taken: Mutex<BTreeSet<String>>,
    given_back: Condvar,
}

/// Some of them, until this is dropped.
pub(crate) struct Claim<'a> {
    claims: &'a Claims,
    names: BTreeSet<String>,
}

impl Claims {
    /// Waits until nobody else has any of these names. They are taken together, so no two wait for each other; who has
    /// some must not ask for more.
    pub fn take(&self, names: impl IntoIterator<Item = String>) -> Claim<'_> {
        let names: BTreeSet<String> = names.into_iter().collect();
        let mut taken = self.taken.lock();
        self.given_back.wait_while(&mut taken, |taken| !taken.is_disjoint(&names));
        taken.extend(names.iter().cloned());
        Claim { claims: self, names }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.claims.taken.lock().retain(|name| !self.names.contains(name));
        self.claims.given_back.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn one_at_a_time_has_a_name_and_others_are_free() {
        let claims = Claims::default();
        let others = claims.take(["returns".to_owned()]);
        let inside = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let _claim =
                            claims.take(["orders".to_owned(), "orders".to_owned(), "more".to_owned()]);
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        drop(others);
        assert!(claims.taken.lock().is_empty());
    }
}
