//! The keys of the Java broker that have no effect here, each with its reason.
//!
//! `known.tsv` holds key, component of the Java distribution, class, and for single keys a reason of their own.

/// The reason that all keys of a class share.
pub(crate) struct Class {
    pub(crate) name: &'static str,
    pub(crate) reason: &'static str,
}

const fn class(name: &'static str, reason: &'static str) -> Class {
    Class { name, reason }
}

/// In the order of the documentation.
pub(crate) const CLASSES: [Class; 31] = [
    class("threads", "the server has no thread pools or request queues to size"),
    class(
        "queueing",
        "requests do not wait in queues for a thread; the thrust.* limits bound what is in flight",
    ),
    class("netty", "tuning of Java's network library"),
    class("ownio", "tuning of Java's mapped files; the store writes from its own buffers"),
    class("fixed", "built in one way here, with nothing to choose"),
    class("registration", "the form of a registration is not to be chosen"),
    class("reporting", "tuning of Java's counters and log lines"),
    class("logging", "logs go to stderr"),
    class("home", "there is no installation directory and no key for the path of this file"),
    class("address", "name servers are named in namesrvAddr; no address service is asked"),
    class("multipath", "the commit log has one directory"),
    class("plugin", "no Java classes can be loaded"),
    class("rocksdb", "there is no RocksDB; queues and tables are files"),
    class("legacy", "has no effect in the Java broker of today either"),
    class("old", "no key of the Java broker of today"),
    class("tls", "TLS is not served yet"),
    class("auth", "access control is not served yet"),
    class("replication", "replication is not served yet"),
    class("controller", "controller mode is not served yet"),
    class("dledger", "DLedger mode is not served yet"),
    class("timer", "the timer has one thread, delivers until it succeeds and counts by itself what waits"),
    class(
        "pop",
        "deliveries and acknowledgements are written at once, in one way; there is no buffer before them to tune",
    ),
    class("light", "lite topics are not served yet"),
    class(
        "filter",
        "the length of bitmaps follows from expectConsumerNumUseFilter and maxErrorRateOfBloomFilter",
    ),
    class("cold", "limits of cold reads are as they were set; what is in memory is asked of the system"),
    class("tiered", "tiered storage is not served yet"),
    class("metrics", "metrics are not served yet"),
    class("proxy", "the proxy is not served yet"),
    class("container", "a broker container is not served; one process is one broker"),
    class("sysprop", "a Java system property (-D), not a key of this file"),
    class("env", "an environment variable, not a key of this file"),
];

/// One line of `known.tsv`.
pub(crate) struct Known {
    pub(crate) key: &'static str,
    pub(crate) class: &'static str,
    own_reason: Option<&'static str>,
}

impl Known {
    /// Why it has no effect here: its own reason, or that of its class.
    pub(crate) fn reason(&self) -> &'static str {
        let of_class = CLASSES.iter().find(|class| class.name == self.class).map(|class| class.reason);
        self.own_reason.or(of_class).unwrap_or_default()
    }
}

/// All keys without effect, sorted.
pub(crate) fn all() -> impl Iterator<Item = Known> {
    include_str!("known.tsv").lines().filter_map(|line| {
        let mut columns = line.split('\t');
        let (key, _component, class) = (columns.next()?, columns.next()?, columns.next()?);
        Some(Known { key, class, own_reason: columns.next() })
    })
}

/// Why `key` has no effect in any file; `None` when it is not one of these.
pub(crate) fn reason(key: &str) -> Option<&'static str> {
    all().find(|known| known.key == key).map(|known| known.reason())
}

/// What a user believes to have with `key=true`, and has not. Listing such a key among the ignored ones would
/// be too quiet.
pub(crate) fn missing_promise(key: &str) -> Option<(&'static str, &'static str)> {
    const OPEN: &str = "access control is asked for and not served yet: every client may do everything";
    const ALONE: &str = "replication is asked for and not served yet: messages are on this broker alone";
    const PROMISES: [(&str, &str); 5] = [
        ("aclEnable", OPEN),
        ("authenticationEnabled", OPEN),
        ("authorizationEnabled", OPEN),
        ("enableControllerMode", ALONE),
        ("enableDLegerCommitLog", ALONE),
    ];
    PROMISES.into_iter().find(|(name, _)| *name == key)
}

/// Whether a client is refused the key although it has no effect: the Java servers refuse these.
pub(crate) fn is_locked(key: &str) -> bool {
    const NAMES: [&str; 6] = [
        "configBlackList",
        "brokerConfigPath",
        "brokerConfigPaths",
        "configStorePath",
        "kvConfigPath",
        "rocketmqHome",
    ];
    NAMES.contains(&key)
}

/// The known name that resembles `key` most, if one does; one of those that are `acting` wins over one that does not.
pub(crate) fn nearest(key: &str, acting: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    /// Longer names than any known one resemble none.
    const LONGEST: usize = 80;
    if key.len() > LONGEST {
        return None;
    }
    let wanted = key.to_lowercase();
    let acceptable = (key.len() / 4).clamp(1, 4);
    let names = acting.chain(all().map(|known| known.key));
    let near = names.filter(|name| name.len().abs_diff(key.len()) <= acceptable);
    let ranked = near.filter_map(|name| {
        let lower = name.to_lowercase();
        let edits = edits(&wanted, &lower);
        // Something forgotten at the end is likelier than another letter: brokerIp is brokerIP1, not brokerId.
        let is_cut = lower.starts_with(&wanted) || wanted.starts_with(&lower);
        (edits <= acceptable).then_some(((edits, !is_cut), name))
    });
    // `min_by_key` keeps the first of equals.
    ranked.min_by_key(|(rank, _)| *rank).map(|(_, name)| name)
}

/// How many letters must be put in, taken out or changed to turn one word into the other.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut above: Vec<usize> = (0..=to.len()).collect();
    for (row, from) in from.chars().enumerate() {
        let mut left = row + 1;
        let mut diagonal = above[0];
        above[0] = left;
        for (column, to) in to.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = above[column + 1];
            left = changed.min(diagonal + 1).min(left + 1);
            above[column + 1] = left;
        }
    }
    above[to.len()]
}
