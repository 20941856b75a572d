//! The same work at several servers: those that fail do not keep it from the others, and are named at the end.

use crate::failure::Failure;
use crate::output::screen::say;

/// Where the work was done, and where it was not.
#[derive(Debug)]
pub struct Each<T> {
    done: Vec<T>,
    missed: Vec<String>,
}

impl<T> Each<T> {
    /// Does the work at each place, which `name` names.
    ///
    /// # Errors
    /// The first failure, when it was done nowhere.
    pub async fn of<P>(
        places: impl IntoIterator<Item = P>,
        name: impl Fn(&P) -> String,
        work: impl AsyncFn(P) -> Result<T, Failure>,
    ) -> Result<Each<T>, Failure> {
        let (mut done, mut missed, mut first) = (Vec::new(), Vec::new(), None);
        for place in places {
            let name = name(&place);
            match work(place).await {
                Ok(one) => done.push(one),
                Err(failure) => {
                    missed.push(format!("not done at {name}: {failure}"));
                    first.get_or_insert(failure);
                }
            }
        }
        match first {
            Some(failure) if done.is_empty() => {
                // The others need not have failed for the same reason.
                missed.iter().skip(1).for_each(|missed| say(&format!("thrust: {missed}")));
                Err(failure)
            }
            _ => Ok(Each { done, missed }),
        }
    }

    /// What came of it, and how a command ends that has told so: in part, if it was not done everywhere.
    pub fn split(self) -> (Vec<T>, Result<(), Failure>) {
        let end = match self.missed.is_empty() {
            true => Ok(()),
            false => Err(Failure::Partly(self.missed.join("; "))),
        };
        (self.done, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn at(
        places: &[(&'static str, bool)],
    ) -> Result<(Vec<&'static str>, Result<(), Failure>), Failure> {
        let work = async |(name, works)| match works {
            true => Ok(name),
            false => Err(Failure::NotFound(format!("no {name}"))),
        };
        Ok(Each::of(places.to_vec(), |(name, _)| (*name).to_owned(), work).await?.split())
    }

    #[tokio::test]
    async fn what_fails_at_one_place_is_done_at_the_others() {
        let (done, end) = at(&[("a", true), ("b", false), ("c", true)]).await.unwrap();
        assert_eq!(done, ["a", "c"]);
        assert!(matches!(end, Err(Failure::Partly(what)) if what == "not done at b: no b"));
        let (done, end) = at(&[("a", true)]).await.unwrap();
        assert!(done == ["a"] && end.is_ok());
        assert!(at(&[]).await.unwrap().1.is_ok());
        assert!(
            matches!(at(&[("a", false), ("b", false)]).await, Err(Failure::NotFound(what)) if what == "no a")
        );
    }
}
