//! What brokers know of groups.

use std::collections::BTreeMap;

use thrustmq_client::{Admin, ConsumeStats, Error, SubscriptionGroupConfig};
use wire::code::response;

use crate::failure::{Failure, did_you_mean};

/// Groups by name, each with its brokers and their settings.
pub type Groups = BTreeMap<String, BTreeMap<String, SubscriptionGroupConfig>>;

/// All groups that masters know.
///
/// # Errors
/// When a broker does not answer.
pub async fn groups(admin: &Admin) -> Result<Groups, Failure> {
    let mut all = Groups::new();
    for address in admin.masters("").await? {
        for (name, config) in admin.groups(&address).await? {
            all.entry(name).or_default().insert(address.clone(), config);
        }
    }
    Ok(all)
}

/// Settings of a group that must be there, by broker.
pub async fn known(admin: &Admin, group: &str) -> Result<BTreeMap<String, SubscriptionGroupConfig>, Failure> {
    let mut all = groups(admin).await?;
    all.remove(group).ok_or_else(|| {
        let hint = did_you_mean(group, all.keys().map(String::as_str));
        Failure::NotFound(format!("no broker has group \"{group}\"{hint}; `thrust group list` shows all"))
    })
}

/// Offsets of a group; none when it has not finished anything yet.
pub async fn stats(admin: &Admin, group: &str, topic: Option<&str>) -> Result<ConsumeStats, Failure> {
    match admin.consume_stats(group, topic).await {
        Ok(mut stats) => {
            // Of a static topic's queue that the group has never read, brokers say -1.
            for offsets in stats.offset_table.values_mut() {
                offsets.consumer_offset = offsets.consumer_offset.max(0);
            }
            Ok(stats)
        }
        // Whatever else a broker refuses for, it has not said that nothing is left to read.
        Err(Error::Refused {
            code: response::SUBSCRIPTION_GROUP_NOT_EXIST | response::CONSUMER_NOT_ONLINE,
            ..
        }) => Ok(ConsumeStats::default()),
        Err(error) => Err(error.into()),
    }
}
