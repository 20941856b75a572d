//! The fields of what `--json` prints. They are there to stay: fields are added, never renamed or taken away.
//!
//! `docs/commands.md` lists them, and a test compares this with what the commands print.

/// Where a field is, and what it says. `[]` stands for each of a list, `*` for each name of a table.
type Field = (&'static str, &'static str);

/// Fields that stand below a place in the document.
type Part = (&'static str, &'static [Field]);

/// What commands print: `topic list` for `thrust topic list`. All works of `bench` but `idle` print the same.
const COMMANDS: &[(&str, &[Part])] = &[
    ("topic create", &[("", TOPIC_CREATED), ("topic.", TOPIC_CONFIG)]),
    ("topic list", &[("", TOPIC_LISTED)]),
    ("topic describe", &[("", TOPIC_DESCRIBED), ("brokers.*.", TOPIC_CONFIG), ("", TOPIC_QUEUE)]),
    ("topic update", &[("", &[("topic", "Name")]), ("", CHANGES)]),
    ("topic delete", &[("", TOPIC_DELETED)]),
    ("topic route", &[("", TOPIC_ROUTE)]),
    ("group create", &[("", GROUP_CREATED)]),
    ("group list", &[("", GROUP_LISTED)]),
    ("group describe", &[("", GROUP_DESCRIBED)]),
    ("group lag", &[("", GROUP_LAG)]),
    ("group update", &[("", &[("group", "Name")]), ("", CHANGES)]),
    ("group reset", &[("", GROUP_RESET)]),
    ("group delete", &[("", GROUP_DELETED)]),
    ("message find", &[("", FOUND), ("messages[].", MESSAGE)]),
    ("message show", &[("", MESSAGE)]),
    ("message track", &[("[].", RECEIPT), ("", &[("[].topic", "Topic it was sent to")]), ("[].", TRACK)]),
    ("message resend", &[("", RESENT), ("", RECEIPT), ("", HANDED)]),
    ("cluster list", &[("[].", MEMBER)]),
    ("cluster stats", &[("[].", MEMBER), ("", STATS)]),
    ("broker config get", &[("", SETTINGS)]),
    ("broker status", &[("", SETTINGS)]),
    ("broker config set", &[("", CHANGES), ("", REMARKS)]),
    ("context add", &[("", CONTEXT), ("", TLS), ("", &[("file", "Where contexts are kept")])]),
    ("context use", &[("", CONTEXT), ("", TLS)]),
    ("context remove", &[("", CONTEXT), ("", TLS)]),
    ("context list", &[("[].", CONTEXT), ("[].", TLS)]),
    ("context show", &[("", CONTEXT_SHOWN), ("", TLS)]),
    ("explain message", &[("message.", MESSAGE), ("", PLACE), ("", TRACK), ("", BROKER_STORY), ("", STORY)]),
    ("explain group", &[("", GROUP_EXPLAINED), ("", STORY)]),
    ("explain topic", &[("", TOPIC_EXPLAINED), ("", STORY)]),
    ("doctor", &[("", DIAGNOSIS)]),
    ("produce", &[("", RECEIPT), ("", PRODUCED)]),
    ("consume", &[("", MESSAGE)]),
    ("bench idle", &[("", IDLE)]),
    ("bench", &[("", BENCH), ("servers[].median.", FIGURES), ("servers[].rounds[].", FIGURES)]),
    ("store inspect", &[("", STORE), ("", FINDINGS), ("", ENTRY), ("", RECORD)]),
    ("store verify", &[("", VERIFIED), ("", FINDINGS)]),
    ("store repair", &[("", REPAIRED), ("", FINDINGS)]),
];

/// Fields of a command, `topic list` for `thrust topic list`; none for commands without JSON.
pub fn of(command: &str) -> Vec<(String, &'static str)> {
    let Some((_, parts)) = COMMANDS.iter().find(|(name, _)| *name == command) else { return Vec::new() };
    parts.iter().flat_map(|(place, fields)| below(place, fields)).collect()
}

fn below(place: &str, fields: &'static [Field]) -> impl Iterator<Item = (String, &'static str)> {
    fields.iter().map(move |(path, meaning)| (format!("{place}{path}"), *meaning))
}

const CHANGES: &[Field] = &[
    ("changes[]", "What is different now; empty when nothing is"),
    ("changes[].broker", "Name or address of the broker"),
    ("changes[].setting", "Name of the setting"),
    ("changes[].from", "Value before; null when there was none"),
    ("changes[].to", "Value now; null when there is none"),
];

const REMARKS: &[Field] = &[
    ("remarks[]", "What brokers say of it: whether it is in force, and for how long"),
    ("remarks[].broker", "Name of the broker"),
    ("remarks[].brokerId", "0 for the master"),
    ("remarks[].remark", "Its words"),
];

const MESSAGE: &[Field] = &[
    ("topic", "Topic it was sent to"),
    ("broker", "Name of the broker that has it"),
    ("queueId", "Number of its queue"),
    ("offset", "Position in the queue"),
    ("messageId", "Unique key, or the offset id where there is none"),
    ("offsetId", "Where it is stored"),
    ("tag", "Its tag, or null"),
    ("keys[]", "Its keys"),
    ("bornMs", "Producer's clock, Unix milliseconds"),
    ("storedMs", "Broker's clock, Unix milliseconds"),
    ("bornHost", "Address of the producer"),
    ("storeHost", "Address of the broker"),
    ("reconsumeTimes", "Failures so far"),
    ("properties.*", "Properties of the application and of the protocol"),
    ("body", "The body: text, or hexadecimal digits"),
    ("bodyEncoding", "`utf-8` or `hex`"),
    ("flag", "The application's number"),
];

const TRACK: &[Field] = &[
    ("groups[].group", "Name of the group"),
    ("groups[].members", "Members that are online"),
    ("groups[].state", "`read`, `filtered`, `not yet` or `broadcast`"),
    ("groups[].consumerOffset", "Where the group stands in the queue; null if it has never been there"),
    ("groups[].failures", "Failed attempts so far"),
    ("groups[].afterFailure", "Where it is since it failed, or null"),
];

const STORY: &[Field] = &[("story[]", "The story, paragraph by paragraph"), ("advice[]", "What to do")];

const TLS: &[Field] = &[
    ("tls.ca", "File of the authorities that are trusted; `tls` is null without encryption"),
    ("tls.serverName", "Name that certificates of all servers are for, or null"),
    ("tls.certificate", "File of the client's certificate, or null"),
    ("tls.key", "File of its key, or null"),
];

const CONTEXT: &[Field] = &[
    ("context", "Name of the context"),
    ("chosen", "Whether commands use it when nothing else is said"),
    ("nameserver", "Its name servers"),
    ("accessKey", "Its access key, or null"),
];

const TOPIC_CONFIG: &[Field] = &[
    ("topic", "Name of the topic"),
    ("readQueues", "Queues that consumers read"),
    ("writeQueues", "Queues that producers write"),
    ("perm", "`r`, `w`, `rw` or `none`"),
    ("order", "Whether it is an order topic"),
    ("attributes.*", "Attributes"),
];

const MEMBER: &[Field] = &[
    ("cluster", "Name of the cluster"),
    ("broker", "Name of the broker"),
    ("brokerId", "0 is the master"),
    ("role", "`master` or `slave`"),
    ("address", "Address that clients are told"),
];

const SETTINGS: &[Field] = &[
    ("[].broker", "Name of the broker"),
    ("[].brokerId", "0 is the master"),
    ("[].address", "Its address"),
    ("[].values.*", "Values by name"),
];

const RECEIPT: &[Field] = &[
    ("messageId", "Unique key of the stored message"),
    ("offsetId", "Where it is stored"),
    ("broker", "Name of the broker"),
    ("queueId", "Number of the queue"),
    ("offset", "Position in the queue"),
];

const FIGURES: &[Field] = &[
    ("messages", "Messages that were confirmed or received"),
    ("messages_per_second", "The same by time"),
    ("bytes_per_second", "Bodies for what sends, records for what pulls"),
    ("latency_p50_us", "Microseconds that half of them took at most"),
    ("latency_p99_us", "99 % of them"),
    ("latency_p999_us", "99.9 % of them"),
    ("latency_max_us", "The slowest"),
    ("server_cpu_us_per_message", "CPU time of the server; null without `--pid`"),
    ("server_resident_bytes", "Its memory at the end; null without `--pid`"),
    ("server_anonymous_bytes", "The part of it that is no file; null without `--pid`"),
    ("generator_cpu_us_per_message", "CPU time of the bench itself"),
];

const BENCH: &[Field] = &[
    ("work", "What was done, as `send`"),
    ("topic", "Topic, or the first letters of all topics"),
    ("topics", "Topics"),
    ("queues", "Queues of each"),
    ("size_bytes", "Bytes of a body"),
    ("connections", "Connections that send, or that do all"),
    ("consumers", "Connections that only receive"),
    ("in_flight", "Requests under way per connection"),
    ("batch", "Messages per request"),
    ("rate_asked", "Messages a second that were asked for; null in a closed loop"),
    ("seconds", "Seconds of a round"),
    ("warmup_seconds", "Seconds before each that do not count"),
    ("servers[].address", "A server: the broker, or all masters of the topic"),
    ("servers[].pids[]", "Its processes"),
    ("servers[].rounds[].errors[].code", "Response code of requests that failed"),
    ("servers[].rounds[].errors[].name", "Its name"),
    ("servers[].rounds[].errors[].count", "How many"),
    ("servers[].rounds[].errors[].first_remark", "What the server said to the first"),
    ("servers[].rounds[].unanswered", "Requests that were not answered or not sent in time"),
    ("ratio.messages_per_second", "The first server by the second, with `--compare`"),
    ("ratio.latency_p50", "Likewise"),
    ("ratio.latency_p99", "Likewise"),
    ("ratio.latency_p999", "Likewise"),
    ("ratio.server_cpu_per_message", "Likewise; null without `--pid` and `--pid2`"),
    ("ratio.server_resident", "Likewise"),
];

const IDLE: &[Field] = &[
    ("work", "`idle`"),
    ("topic", "The topic that nobody sends to"),
    ("queues", "Its queues"),
    ("consumers", "Consumers that wait"),
    ("suspend_seconds", "Seconds that each pull waits at the broker"),
    ("heartbeat_seconds", "Seconds between two heartbeats of a consumer"),
    ("seconds", "Seconds that were measured"),
    ("warmup_seconds", "Seconds before that"),
    ("pulls", "Pulls that were answered at their time"),
    ("heartbeats", "Heartbeats that were answered"),
    ("unexpected", "Answers with an error, or before their time"),
    ("server_cpu_percent", "CPU time of the server, percent of a core; null without `--pid`"),
    ("server_resident_bytes_per_consumer", "Its memory at the end, shared out; null without `--pid`"),
    ("server_anonymous_bytes_per_consumer", "The part of it that is no file; null without `--pid`"),
];

/// What `store inspect --offset` prints.
const RECORD: &[Field] = &[
    ("physicalOffset", "With `--offset`: position in the log"),
    ("next", "Where the log goes on if the segment ends here; then nothing else is printed"),
    ("error", "Why no record begins here; then nothing else is printed"),
    ("totalSize", "Bytes of the record"),
    ("magic", "What marks a record, hexadecimal"),
    ("bodyCrc", "CRC of the body as it is written, hexadecimal"),
    ("bodyCrcError", "What the body gives instead; null where it agrees"),
    ("recordCrc", "CRC of the whole record: `agrees`, `none`, or what is wrong"),
    ("queueId", "Number of its queue"),
    ("queueOffset", "Position in the queue"),
    ("flag", "The application's number"),
    ("sysFlag", "Bits of the protocol"),
    ("bornMs", "Producer's clock, Unix milliseconds"),
    ("bornHost", "Address of the producer"),
    ("storedMs", "Broker's clock, Unix milliseconds"),
    ("storeHost", "Address of the broker"),
    ("reconsumeTimes", "Failures so far"),
    ("preparedTransactionOffset", "Where its half message is, in the log or in its queue"),
    ("topic", "Topic it is stored in"),
    ("properties.*", "Properties of the application and of the protocol"),
    ("offsetId", "Its offset id"),
    ("bodyLength", "Bytes of the body"),
    ("body", "The body: text, or hexadecimal digits"),
    ("bodyEncoding", "`utf-8` or `hex`"),
];

const FINDINGS: &[Field] = &[
    ("counts.*", "Findings by area"),
    ("findings[].area", "`log`, `queue`, `index`, `checkpoint` and the like"),
    ("findings[].path", "The file"),
    ("findings[].offset", "Where in the log, or which entry; null if it is the whole file"),
    ("findings[].what", "What is wrong"),
    ("findings[].remedy", "What to do"),
];

const TOPIC_CREATED: &[Field] =
    &[("created", "true"), ("brokers[]", "Addresses of the brokers that have it now")];

const TOPIC_LISTED: &[Field] = &[
    ("[].topic", "Name"),
    ("[].class", "`topic`, `retry`, `dead letter` or `system`"),
    ("[].type", "Kind of its messages, as `NORMAL`"),
    ("[].perm", "`r`, `w`, `rw` or `none`"),
    ("[].writeQueues", "Queues of all brokers together"),
    ("[].brokers", "Brokers that have it"),
];

const TOPIC_DESCRIBED: &[Field] = &[("topic", "Name"), ("messages", "Messages in all queues")];

const TOPIC_QUEUE: &[Field] = &[
    ("queues[].broker", "Name of the broker"),
    ("queues[].queueId", "Number of the queue"),
    ("queues[].minOffset", "The oldest message"),
    ("queues[].maxOffset", "One behind the newest message"),
    ("queues[].lastStoredMs", "When the newest was stored, Unix milliseconds; 0 when there is none"),
];

const TOPIC_DELETED: &[Field] = &[("deleted", "true"), ("topic", "Name"), ("messages", "Messages it had")];

const TOPIC_ROUTE: &[Field] = &[
    ("topic", "Name"),
    ("route[].broker", "Name of the broker"),
    ("route[].cluster", "Its cluster"),
    ("route[].addresses.*", "Addresses by broker id"),
    ("route[].readQueues", "Queues that consumers read"),
    ("route[].writeQueues", "Queues that producers write"),
    ("route[].perm", "`r`, `w`, `rw` or `none`"),
];

const GROUP_CREATED: &[Field] = &[
    ("created", "true"),
    ("brokers[]", "Addresses of the brokers that have it now"),
    ("group.group", "Name"),
    ("group.consume", "Whether members get messages"),
    ("group.broadcast", "Whether members may read in broadcast"),
    ("group.retries", "Failures before the dead letter topic"),
    ("group.retryQueues", "Queues of the retry topic"),
    ("group.orderly", "Whether clients of gRPC get messages in order"),
];

const GROUP_LISTED: &[Field] = &[
    ("[].group", "Name"),
    ("[].members", "Members that are online"),
    ("[].topics[]", "Topics it has read, its retry topic too"),
    ("[].behind", "Messages that it has not finished"),
];

const GROUP_DESCRIBED: &[Field] = &[
    ("group", "Name"),
    ("behind", "Messages that it has not finished"),
    ("brokers.*", "Settings by broker, as brokers write them"),
    ("online", "Members and subscriptions, as brokers write them; null when nobody is online"),
];

const GROUP_LAG: &[Field] = &[
    ("group", "Name"),
    ("behind", "Messages that it has not finished"),
    ("queues[].topic", "Topic"),
    ("queues[].broker", "Name of the broker"),
    ("queues[].queueId", "Number of the queue"),
    ("queues[].brokerOffset", "One behind the newest message"),
    ("queues[].consumerOffset", "The next message that it has not finished"),
    ("queues[].behind", "The difference"),
    ("queues[].lastConsumedMs", "When the last finished message was stored, Unix milliseconds; 0 if unknown"),
];

const GROUP_RESET: &[Field] = &[
    ("group", "Name"),
    ("topic", "Topic"),
    ("queues[].broker", "Name of the broker"),
    ("queues[].queueId", "Number of the queue"),
    ("queues[].offset", "Where it is now"),
];

const GROUP_DELETED: &[Field] =
    &[("deleted", "true"), ("group", "Name"), ("brokers[]", "Addresses of the brokers that had it")];

const FOUND: &[Field] = &[("foundBy", "What the text was: `unique key`, `offset id` or `key`")];

/// The copy of a message.
const RESENT: &[Field] =
    &[("resent", "Unique key of the message that was sent again"), ("topic", "Topic of the copy")];

/// What a group made of a message that it was handed.
const HANDED: &[Field] = &[
    ("group", "With `--group`, which makes no copy: the group that was handed the message"),
    ("result", "What the group made of it, as `CR_SUCCESS`"),
    ("remark", "What it said, or null"),
    ("spentMs", "Milliseconds it took"),
];

const STATS: &[Field] = &[
    ("[].version", "Version that the broker tells"),
    ("[].inPerSecond", "Messages that came in, over 10 s"),
    ("[].outPerSecond", "Messages that went out, over 10 s"),
    ("[].stats.*", "All figures, as brokers write them"),
    ("[].error", "Why there are no figures, or null"),
];

const CONTEXT_SHOWN: &[Field] = &[
    ("context", "Name of the context that is used, or null"),
    ("source", "What says where: `argument`, `NAMESRV_ADDR`, `context` or `default`"),
    ("nameserver", "The name servers"),
    ("accessKey", "The access key, or null"),
];

const PLACE: &[Field] =
    &[("place", "`topic`, or where it waits: `schedule`, `timer`, `half message`, `given up`")];

const BROKER_STORY: &[Field] = &[(
    "broker",
    "What the broker tells by itself, as `GET_MESSAGE_STORY` in [requests](requests.md) has it; null from Java's",
)];

const GROUP_EXPLAINED: &[Field] = &[
    ("group", "Name"),
    ("members", "Members that are online"),
    ("behind", "Messages that it has not finished"),
    ("deadLetters", "Messages in its dead letter topic"),
    ("queues[].topic", "Topic"),
    ("queues[].broker", "Name of the broker"),
    ("queues[].queueId", "Number of the queue"),
    ("queues[].brokerOffset", "One behind the newest message"),
    ("queues[].consumerOffset", "The next message that it has not finished"),
    ("queues[].behind", "The difference"),
    (
        "queues[].cause",
        "Why: `paused`, `nobody online`, `not subscribed`, `filter`, `no member has the queue`, `slow`, \
                     `idle` or `unknown`; null when it is not behind",
    ),
];

const TOPIC_EXPLAINED: &[Field] = &[
    ("topic", "Name"),
    ("messages", "Messages in all queues"),
    ("lastStoredMs", "When the newest was stored, Unix milliseconds; 0 when there is none"),
    ("inPerSecond", "Messages that come in"),
    ("brokers[]", "Names of the brokers that have it"),
    ("groups[].group", "A group that reads it"),
    ("groups[].members", "Members that are online"),
    ("groups[].behind", "Messages that it has not finished"),
];

const DIAGNOSIS: &[Field] = &[
    ("level", "The worst of all: `ok`, `warning` or `error`"),
    ("errors", "Errors"),
    ("warnings", "Warnings"),
    ("findings[].level", "`ok`, `warning` or `error`"),
    ("findings[].check", "What was looked at"),
    ("findings[].what", "What was found"),
    ("findings[].remedy", "What to do; empty when nothing is"),
];

const PRODUCED: &[Field] = &[
    ("status", "`Stored`, or what became of flush and replicas"),
    ("recallHandle", "What takes a delayed message back, or null"),
];

const STORE: &[Field] = &[
    ("storePathRootDir", "The store; `--topic` prints a list of entries instead, `--offset` a record: below"),
    ("mappedFileSizeCommitLog", "Bytes of a segment"),
    ("clean", "Whether its broker was stopped cleanly"),
    ("segments[].*", "`base`, `bytes`, `used`, `records`, `firstStoreTimestamp`, `lastStoreTimestamp`"),
    ("queues[].*", "`topic`, `queueId`, `minOffset`, `maxOffset`, `files`, `extFiles`"),
    ("compactionLogs[].*", "`topic`, `queueId`, `firstOffset`, `lastOffset`, `messages`, `files`"),
    ("index[].path", "An index file"),
    ("index[].header.*", "What its header says; `header` is null where it cannot be read"),
    ("checkpoint.*", "Times of the checkpoint; null without one"),
    ("config[].*", "`name`, `bytes` and `state` of a configuration file"),
];

/// What `store inspect --topic` prints.
const ENTRY: &[Field] = &[
    ("[].queueId", "With `--topic`: number of the queue"),
    ("[].queueOffset", "Position in the queue"),
    ("[].physicalOffset", "Position in the log"),
    ("[].size", "Bytes of the record"),
    ("[].tagsCode", "Hash of the tag"),
    ("[].extPosition", "Place in the extension file, or null"),
    ("[].stored", "When it was stored, or why that is not known"),
    ("[].storedMs", "The same in Unix milliseconds, or null"),
    ("[].keys", "Keys of the message"),
    ("[].tags", "Its tag"),
];

const VERIFIED: &[Field] = &[
    ("sound", "Whether nothing is wrong"),
    ("clean", "Whether its broker was stopped cleanly"),
    ("notes[]", "What is not wrong and good to know"),
    ("damage[].from", "A stretch of the log that cannot be read"),
    ("damage[].until", "Where the log can be read again"),
    ("logMin", "Where the log begins"),
    ("logEnd", "Where it ends"),
    ("records", "Records in it"),
    ("queues", "Queues"),
    ("queueEntries", "Entries of queues that were compared"),
    ("compactionLogs", "Logs of compacted topics"),
    ("compactedMessages", "Messages in them"),
    ("extensions", "Extensions of queue entries"),
    ("indexFiles", "Index files"),
    ("indexEntries", "Their entries that were compared"),
    ("seconds", "Seconds it took"),
];

const REPAIRED: &[Field] = &[
    ("steps[]", "What is to be done, or was done"),
    ("done", "Whether it was done"),
    ("kept", "Directory of what was taken out of the log, or null"),
];
