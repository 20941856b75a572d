//! Asking name servers for routes: when somebody needs one, and again and again for those that are in use.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use wire::body::TopicRoute;
use wire::code::{request, response};
use wire::names::AUTO_CREATE_TOPIC;

use crate::at_once::all_at_once;
use crate::error::Error;
use crate::fields::Fields;
use crate::route::Route;
use crate::routes::Silence;
use crate::shared::{Shared, decode};

/// Topics that are asked for again at the same time.
const REFRESHED_AT_ONCE: usize = 16;

impl Shared {
    /// The route of a topic that is there.
    pub async fn route(&self, topic: &str) -> Result<Arc<Route>, Error> {
        match self.routes.usable(topic, false) {
            Some(route) => Ok(route),
            // Boxed, since it is rare and would make the futures of all who ask large.
            None => Box::pin(self.learn_route(topic)).await,
        }
    }

    async fn learn_route(&self, topic: &str) -> Result<Arc<Route>, Error> {
        let came = Instant::now();
        let mut silence = self.routes.asking.lock().await;
        if let Some(route) = self.routes.usable(topic, false) {
            return Ok(route);
        }
        self.ask_unless_silent(topic, &mut silence, came).await
    }

    /// Asks for a route, unless nobody has answered while whoever wants it has waited: each would wait as long again.
    async fn ask_unless_silent(
        &self,
        topic: &str,
        silence: &mut Silence,
        came: Instant,
    ) -> Result<Arc<Route>, Error> {
        if let Some(error) = silence.since(came) {
            return Err(error);
        }
        let answer = self.ask_for_route(topic).await;
        silence.note(&answer);
        answer
    }

    /// The route to send along: that of new topics when nobody has this one yet.
    pub async fn route_to_send(&self, topic: &str) -> Result<Arc<Route>, Error> {
        match self.routes.usable(topic, true) {
            Some(route) => Ok(route),
            None => Box::pin(self.learn_route_to_send(topic)).await,
        }
    }

    async fn learn_route_to_send(&self, topic: &str) -> Result<Arc<Route>, Error> {
        let came = Instant::now();
        let mut silence = self.routes.asking.lock().await;
        if let Some(route) = self.routes.usable(topic, true) {
            return Ok(route);
        }
        // One without a queue to write, which is not dropped by who sends: others may read.
        let known = self.routes.known(topic).filter(|route| !route.is_template());
        match (self.ask_unless_silent(topic, &mut silence, came).await, known) {
            (Err(_), Some(known)) => Ok(known),
            (Err(Error::NoRoute { .. }), None) => {
                let raw = self.ask_names_for_route(AUTO_CREATE_TOPIC).await.map_err(|error| match error {
                    Error::NoRoute { .. } => Error::NoRoute { topic: topic.to_owned() },
                    other => other,
                })?;
                Ok(self.routes.learn(Route::of_template(topic, raw)))
            }
            (other, _) => other,
        }
    }

    /// Asks again for every topic that is in use, for several at a time. While no name server answers nothing more is
    /// asked, and what there is no time for comes first in the next round.
    pub async fn refresh_routes(&self) {
        let end = Instant::now() + self.times.route_refresh.max(self.times.call);
        let topics = Mutex::new(VecDeque::from(self.routes.topics()));
        let in_turn = (0..REFRESHED_AT_ONCE).map(|_| async {
            loop {
                let next = topics.lock().pop_front().filter(|_| Instant::now() < end);
                let Some(topic) = next else { return };
                if let Err(error) = self.refresh_route(&topic).await {
                    // What was known stays in use.
                    tracing::warn!(topic, "route is not refreshed: {error}");
                    if matches!(error, Error::NoNameServer { .. } | Error::Stopped(_)) {
                        topics.lock().clear();
                    }
                }
            }
        });
        all_at_once(in_turn).await;
        self.routes.tidy(Instant::now());
    }

    /// Asks again for a topic. A name server that was started again knows none until brokers register, and so one that
    /// says that a topic is gone is not believed at once.
    async fn refresh_route(&self, topic: &str) -> Result<(), Error> {
        let answer = self.ask_for_route(topic).await;
        if let Err(Error::NoRoute { .. }) = answer {
            let gone = self.routes.missed(topic, Instant::now());
            let kept = if gone { "it is dropped" } else { "what was known is used further" };
            tracing::warn!(topic, "no name server knows a route any more; {kept}");
            return Ok(());
        }
        answer.map(drop)
    }

    /// Asks a name server and keeps what it says.
    pub async fn ask_for_route(&self, topic: &str) -> Result<Arc<Route>, Error> {
        let raw = self.ask_names_for_route(topic).await?;
        Ok(self.routes.learn(Route::new(topic, raw)))
    }

    /// Asks for the route at once if a broker said that a logical queue has moved away from it.
    pub async fn note_moved(&self, topic: &str, error: &Error) {
        if error.broker_code() != Some(response::NOT_LEADER_FOR_QUEUE) {
            return;
        }
        if let Err(error) = self.ask_for_route(topic).await {
            tracing::warn!(topic, "route is not refreshed: {error}");
        }
    }

    async fn ask_names_for_route(&self, topic: &str) -> Result<TopicRoute, Error> {
        let fields = Fields::new().text("topic", topic).flag("acceptStandardJsonOnly", true);
        let answer = self.ask_names(request::GET_ROUTEINFO_BY_TOPIC, &fields, &[]).await;
        let (server, answer) = match answer {
            Err(Error::Refused { code: response::TOPIC_NOT_EXIST, .. }) => {
                return Err(Error::NoRoute { topic: topic.to_owned() });
            }
            other => other?,
        };
        let raw: TopicRoute = decode(&server, &answer)?;
        if raw.broker_datas.is_empty() {
            return Err(Error::NoRoute { topic: topic.to_owned() });
        }
        Ok(raw)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::pretended::{Said, client_of, pretend};

    #[tokio::test]
    async fn a_name_server_that_is_silent_is_not_waited_for_topic_by_topic() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let (address, _server) = pretend(move |_| {
            counted.fetch_add(1, Ordering::AcqRel);
            None
        });
        let shared = client_of(vec![address]);
        for number in 0..60 {
            shared.routes.learn(Route::new(&format!("T{number}"), TopicRoute::default()));
        }
        // A call takes 1 s: one after the other they would need all the patience there is.
        tokio::time::timeout(Duration::from_secs(30), shared.refresh_routes()).await.expect("in time");
        assert_eq!(asked.load(Ordering::Acquire), REFRESHED_AT_ONCE);
        assert_eq!(shared.routes.topics().len(), 60, "what was known stays in use");
    }

    #[tokio::test]
    async fn those_who_want_routes_do_not_wait_for_a_silent_name_server_one_after_the_other() {
        let (address, _server) = pretend(|_| None);
        let shared = client_of(vec![address]);
        let topics: Vec<String> = (0..60).map(|number| format!("T{number}")).collect();
        let wanted = topics.iter().enumerate().map(|(at, topic)| {
            let shared = &shared;
            async move {
                let route =
                    if at % 2 == 0 { shared.route(topic).await } else { shared.route_to_send(topic).await };
                matches!(route, Err(Error::NoNameServer { .. }))
            }
        });
        // A call takes 1 s: one after the other they would need all the patience there is.
        let told = tokio::time::timeout(Duration::from_secs(30), all_at_once(wanted)).await.expect("in time");
        assert!(told.iter().all(|silent| *silent));
        let (address, _server) = pretend(|_| Some(Said::body(r#"{"brokerDatas":[{"brokerName":"b"}]}"#)));
        shared.names.replace(vec![address]);
        assert!(shared.route("T").await.is_ok(), "who comes later asks again");
    }
}
