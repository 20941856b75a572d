//! The fields of what `--json` prints. They are there to stay: fields are added, never renamed or taken away.
//!
//! `docs/commands.md` lists them, and a test compares this with what the commands print.

/// Where a field is, and what it says. `[]` stands for each of a list, `*` for each name of a table.
pub type Field = (&'static str, &'static str);

const CHANGES: [Field; 5] = [
    ("changes[]", "What is different now; empty when nothing is"),
    ("changes[].broker", "Name or address of the broker"),
    ("changes[].setting", "Name of the setting"),
    ("changes[].from", "Value before; null when there was none"),
    ("changes[].to", "Value now; null when there is none"),
];

const MESSAGE: [Field; 17] = [
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

const TRACK: [Field; 6] = [
    ("groups[].group", "Name of the group"),
    ("groups[].members", "Members that are online"),
    ("groups[].state", "`read`, `filtered`, `not yet` or `broadcast`"),
    ("groups[].consumerOffset", "Where the group stands in the queue; null if it has never been there"),
    ("groups[].failures", "Failed attempts so far"),
    ("groups[].afterFailure", "Where it is since it failed, or null"),
];

const STORY: [Field; 2] = [("story[]", "The story, paragraph by paragraph"), ("advice[]", "What to do")];

const TLS: [Field; 4] = [
    ("tls.ca", "File of the authorities that are trusted; `tls` is null without encryption"),
    ("tls.serverName", "Name that certificates of all servers are for, or null"),
    ("tls.certificate", "File of the client's certificate, or null"),
    ("tls.key", "File of its key, or null"),
];

const CONTEXT: [Field; 4] = [
    ("context", "Name of the context"),
    ("chosen", "Whether commands use it when nothing else is said"),
    ("nameserver", "Its name servers"),
    ("accessKey", "Its access key, or null"),
];

const TOPIC_CONFIG: [Field; 6] = [
    ("topic", "Name of the topic"),
    ("readQueues", "Queues that consumers read"),
    ("writeQueues", "Queues that producers write"),
    ("perm", "`r`, `w`, `rw` or `none`"),
    ("order", "Whether it is an order topic"),
    ("attributes.*", "Attributes"),
];

const MEMBER: [Field; 5] = [
    ("cluster", "Name of the cluster"),
    ("broker", "Name of the broker"),
    ("brokerId", "0 is the master"),
    ("role", "`master` or `slave`"),
    ("address", "Address that clients are told"),
];

const SETTINGS: [Field; 4] = [
    ("[].broker", "Name of the broker"),
    ("[].brokerId", "0 is the master"),
    ("[].address", "Its address"),
    ("[].values.*", "Values by name"),
];

const RECEIPT: [Field; 5] = [
    ("messageId", "Unique key of the stored message"),
    ("offsetId", "Where it is stored"),
    ("broker", "Name of the broker"),
    ("queueId", "Number of the queue"),
    ("offset", "Position in the queue"),
];

const FIGURES: [Field; 11] = [
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

const BENCH: [Field; 25] = [
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

const IDLE: [Field; 14] = [
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
const RECORD: [Field; 24] = [
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

const FINDINGS: [Field; 6] = [
    ("counts.*", "Findings by area"),
    ("findings[].area", "`log`, `queue`, `index`, `checkpoint` and the like"),
    ("findings[].path", "The file"),
    ("findings[].offset", "Where in the log, or which entry; null if it is the whole file"),
    ("findings[].what", "What is wrong"),
    ("findings[].remedy", "What to do"),
];

/// Fields of a command, `topic list` for `thrust topic list`; none for commands without JSON.
pub fn of(command: &str) -> Vec<(String, &'static str)> {
    let own = |fields: &[Field]| below("", fields);
    match command {
        "topic create" => [
            own(&[("created", "true"), ("brokers[]", "Addresses of the brokers that have it now")]),
            below("topic.", &TOPIC_CONFIG),
        ]
        .concat(),
        "topic list" => own(&[
            ("[].topic", "Name"),
            ("[].class", "`topic`, `retry`, `dead letter` or `system`"),
            ("[].type", "Kind of its messages, as `NORMAL`"),
            ("[].perm", "`r`, `w`, `rw` or `none`"),
            ("[].writeQueues", "Queues of all brokers together"),
            ("[].brokers", "Brokers that have it"),
        ]),
        "topic describe" => [
            own(&[("topic", "Name"), ("messages", "Messages in all queues")]),
            below("brokers.*.", &TOPIC_CONFIG),
            own(&[
                ("queues[].broker", "Name of the broker"),
                ("queues[].queueId", "Number of the queue"),
                ("queues[].minOffset", "The oldest message"),
                ("queues[].maxOffset", "One behind the newest message"),
                ("queues[].lastStoredMs", "When the newest was stored, Unix milliseconds; 0 when there is none"),
            ]),
        ]
        .concat(),
        "topic update" => [own(&[("topic", "Name")]), own(&CHANGES)].concat(),
        "topic delete" => own(&[("deleted", "true"), ("topic", "Name"), ("messages", "Messages it had")]),
        "topic route" => own(&[
            ("topic", "Name"),
            ("route[].broker", "Name of the broker"),
            ("route[].cluster", "Its cluster"),
            ("route[].addresses.*", "Addresses by broker id"),
            ("route[].readQueues", "Queues that consumers read"),
            ("route[].writeQueues", "Queues that producers write"),
            ("route[].perm", "`r`, `w`, `rw` or `none`"),
        ]),
        "group create" => own(&[
            ("created", "true"),
            ("brokers[]", "Addresses of the brokers that have it now"),
            ("group.group", "Name"),
            ("group.consume", "Whether members get messages"),
            ("group.broadcast", "Whether members may read in broadcast"),
            ("group.retries", "Failures before the dead letter topic"),
            ("group.retryQueues", "Queues of the retry topic"),
            ("group.orderly", "Whether clients of gRPC get messages in order"),
        ]),
        "group list" => own(&[
            ("[].group", "Name"),
            ("[].members", "Members that are online"),
            ("[].topics[]", "Topics it has read, its retry topic too"),
            ("[].behind", "Messages that it has not finished"),
        ]),
        "group describe" => own(&[
            ("group", "Name"),
            ("behind", "Messages that it has not finished"),
            ("brokers.*", "Settings by broker, as brokers write them"),
            ("online", "Members and subscriptions, as brokers write them; null when nobody is online"),
        ]),
        "group lag" => own(&[
            ("group", "Name"),
            ("behind", "Messages that it has not finished"),
            ("queues[].topic", "Topic"),
            ("queues[].broker", "Name of the broker"),
            ("queues[].queueId", "Number of the queue"),
            ("queues[].brokerOffset", "One behind the newest message"),
            ("queues[].consumerOffset", "The next message that it has not finished"),
            ("queues[].behind", "The difference"),
            ("queues[].lastConsumedMs", "When the last finished message was stored, Unix milliseconds; 0 if unknown"),
        ]),
        "group update" => [own(&[("group", "Name")]), own(&CHANGES)].concat(),
        "group reset" => own(&[
            ("group", "Name"),
            ("topic", "Topic"),
            ("queues[].broker", "Name of the broker"),
            ("queues[].queueId", "Number of the queue"),
            ("queues[].offset", "Where it is now"),
        ]),
        "group delete" => own(&[
            ("deleted", "true"),
            ("group", "Name"),
            ("brokers[]", "Addresses of the brokers that had it"),
        ]),
        "message find" => [
            own(&[("foundBy", "What the text was: `unique key`, `offset id` or `key`")]),
            below("messages[].", &MESSAGE),
        ]
        .concat(),
        "message show" => own(&MESSAGE),
        "message track" => [
            below("[].", &RECEIPT),
            own(&[("[].topic", "Topic it was sent to")]),
            below("[].", &TRACK),
        ]
        .concat(),
        "message resend" => [
            own(&[("resent", "Unique key of the message that was sent again"), ("topic", "Topic of the copy")]),
            own(&RECEIPT),
            own(&[
                ("group", "With `--group`, which makes no copy: the group that was handed the message"),
                ("result", "What the group made of it, as `CR_SUCCESS`"),
                ("remark", "What it said, or null"),
                ("spentMs", "Milliseconds it took"),
            ]),
        ]
        .concat(),
        "cluster list" => below("[].", &MEMBER),
        "cluster stats" => [
            below("[].", &MEMBER),
            own(&[
                ("[].version", "Version that the broker tells"),
                ("[].inPerSecond", "Messages that came in, over 10 s"),
                ("[].outPerSecond", "Messages that went out, over 10 s"),
                ("[].stats.*", "All figures, as brokers write them"),
                ("[].error", "Why there are no figures, or null"),
            ]),
        ]
        .concat(),
        "broker config get" | "broker status" => own(&SETTINGS),
        "broker config set" => own(&CHANGES),
        "context add" => [own(&CONTEXT), own(&TLS), own(&[("file", "Where contexts are kept")])].concat(),
        "context use" | "context remove" => [own(&CONTEXT), own(&TLS)].concat(),
        "context list" => [below("[].", &CONTEXT), below("[].", &TLS)].concat(),
        "context show" => [
            own(&[
                ("context", "Name of the context that is used, or null"),
                ("source", "What says where: `argument`, `NAMESRV_ADDR`, `context` or `default`"),
                ("nameserver", "The name servers"),
                ("accessKey", "The access key, or null"),
            ]),
            own(&TLS),
        ]
        .concat(),
        "explain message" => [
            below("message.", &MESSAGE),
            own(&[("place", "`topic`, or where it waits: `schedule`, `timer`, `half message`, `given up`")]),
            own(&TRACK),
            own(&[(
                "broker",
                "What the broker tells by itself, as `GET_MESSAGE_STORY` in [requests](requests.md) has it; null from Java's",
            )]),
            own(&STORY),
        ]
        .concat(),
        "explain group" => [
            own(&[
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
            ]),
            own(&STORY),
        ]
        .concat(),
        "explain topic" => [
            own(&[
                ("topic", "Name"),
                ("messages", "Messages in all queues"),
                ("lastStoredMs", "When the newest was stored, Unix milliseconds; 0 when there is none"),
                ("inPerSecond", "Messages that come in"),
                ("brokers[]", "Names of the brokers that have it"),
                ("groups[].group", "A group that reads it"),
                ("groups[].members", "Members that are online"),
                ("groups[].behind", "Messages that it has not finished"),
            ]),
            own(&STORY),
        ]
        .concat(),
        "doctor" => own(&[
            ("level", "The worst of all: `ok`, `warning` or `error`"),
            ("errors", "Errors"),
            ("warnings", "Warnings"),
            ("findings[].level", "`ok`, `warning` or `error`"),
            ("findings[].check", "What was looked at"),
            ("findings[].what", "What was found"),
            ("findings[].remedy", "What to do; empty when nothing is"),
        ]),
        "produce" => [
            own(&RECEIPT),
            own(&[
                ("status", "`Stored`, or what became of flush and replicas"),
                ("recallHandle", "What takes a delayed message back, or null"),
            ]),
        ]
        .concat(),
        "consume" => own(&MESSAGE),
        "bench idle" => own(&IDLE),
        // The other works print the same.
        "bench" => {
            let medians = below("servers[].median.", &FIGURES);
            [own(&BENCH), medians, below("servers[].rounds[].", &FIGURES)].concat()
        }
        "store inspect" => [
            own(&[
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
            ]),
            own(&FINDINGS),
            own(&[
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
            ]),
            own(&RECORD),
        ]
        .concat(),
        "store verify" => [
            own(&[
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
            ]),
            own(&FINDINGS),
        ]
        .concat(),
        "store repair" => [
            own(&[
                ("steps[]", "What is to be done, or was done"),
                ("done", "Whether it was done"),
                ("kept", "Directory of what was taken out of the log, or null"),
            ]),
            own(&FINDINGS),
        ]
        .concat(),
        _ => Vec::new(),
    }
}

fn below(place: &str, fields: &[Field]) -> Vec<(String, &'static str)> {
    fields.iter().map(|(path, meaning)| (format!("{place}{path}"), *meaning)).collect()
}
