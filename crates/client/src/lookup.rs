//! Asking name servers for routes: when somebody needs one, and again and again for those that are in use.

use std::sync::Arc;
use std::time::Instant;

use wire::body::TopicRoute;
use wire::code::{request, response};
use wire::names::AUTO_CREATE_TOPIC;

use crate::error::Error;
use crate::fields::Fields;
use crate::route::Route;
use crate::shared::{Shared, decode};

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
        let _asking = self.routes.asking.lock().await;
        if let Some(route) = self.routes.usable(topic, false) {
            return Ok(route);
        }
        self.ask_for_route(topic).await
    }

    /// The route to send along: that of new topics when nobody has this one yet.
    pub async fn route_to_send(&self, topic: &str) -> Result<Arc<Route>, Error> {
        match self.routes.usable(topic, true) {
            Some(route) => Ok(route),
            None => Box::pin(self.learn_route_to_send(topic)).await,
        }
    }

    async fn learn_route_to_send(&self, topic: &str) -> Result<Arc<Route>, Error> {
        let _asking = self.routes.asking.lock().await;
        if let Some(route) = self.routes.usable(topic, true) {
            return Ok(route);
        }
        // One without a queue to write, which is not dropped by who sends: others may read.
        let known = self.routes.known(topic).filter(|route| !route.is_template());
        match (self.ask_for_route(topic).await, known) {
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

    /// Asks again for every topic that is in use, and says whether something changed. A name server that was started
    /// again knows no topic until brokers register, and so one that says that a topic is gone is not believed at once.
    pub async fn refresh_routes(&self) -> bool {
        let mut changed = false;
        for topic in self.routes.topics() {
            let before = self.routes.known(&topic);
            if before.as_ref().is_some_and(|route| route.is_template()) {
                continue;
            }
            match self.ask_for_route(&topic).await {
                Ok(after) => changed |= before.is_none_or(|before| *before != *after),
                Err(Error::NoRoute { .. }) => {
                    let gone = self.routes.missed(&topic, Instant::now());
                    changed |= gone;
                    let kept = if gone { "it is dropped" } else { "what was known is used further" };
                    tracing::warn!(topic, "no name server knows a route any more; {kept}");
                }
                // What was known stays in use while no name server answers.
                Err(error) => tracing::warn!(topic, "route is not refreshed: {error}"),
            }
        }
        self.routes.tidy(Instant::now());
        changed
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
