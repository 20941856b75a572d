//! Pulls (11, 361): from an offset to the bytes of records (broker.md §10).
//!
//! A pull that finds nothing and may wait goes to [`crate::hold`]; it is answered once, when something arrives that
//! it wants or at its deadline. One whose messages are not in memory goes to [`crate::readers`].

use std::sync::Arc;
use std::time::Duration;

use remoting::{Channel, Held, ReplyTo};
use store::{Queue, Reach, ReadLimits, ReadResult, ReadStatus, StoreError};
use tokio::time::Instant;
use wire::body::SubscriptionGroupConfig;
use wire::code::{request as code, response};
use wire::header::FrameWriter;
use wire::names;
use wire::pull_flag::{CLASS_FILTER, COMMIT_OFFSET, SUBSCRIPTION, SUSPEND};

use crate::Broker;
use crate::broadcast::{Place, Reader};
use crate::clients::ConsumerGroup;
use crate::cold;
use crate::exchange::{self, Exchange, Outcome, Refusal, Reply};
use crate::filter::{Filter, SQL92, is_tag_type};
use crate::static_topics::{LogicalRead, PullPlace, Told, is_physical};
use crate::topics::Topic;

/// Longest time that a client may ask to be held.
const SUSPEND_MAX: Duration = Duration::from_secs(60);
/// Most messages a client may ask for; the store's transfer limits are far below.
const COUNT_MAX: i32 = 65_536;

/// A consumer that is no more than this behind the end of the log keeps pace with it.
const NEAR_BYTES: u64 = 64 << 20;

/// Answers for one connection are written when they are this many bytes, if more are to follow.
const WRITTEN_AT_ONCE: usize = 256 << 10;

/// What a pull wants, independent of its connection.
struct Pull {
    group: String,
    topic: Arc<Topic>,
    queue: Arc<Queue>,
    offset: i64,
    limits: ReadLimits,
    filter: Filter,
    group_sys_flag: i32,
    /// Who pulls, if its group reads in broadcast.
    reader: Option<Reader>,
    /// What the queue stands for, in a static topic.
    logical: Option<Box<LogicalRead>>,
}

/// A pull, with what it takes to answer it.
struct Asked {
    pull: Pull,
    reply_to: ReplyTo,
    /// How long it waits if there is nothing.
    suspend: Option<Duration>,
}

/// A pull that waits, where it stays while lists of such are rearranged.
pub(crate) type BoxedWaiter = Box<Waiter>;

/// A pull that waits.
pub(crate) struct Waiter {
    /// When it is answered at the latest.
    pub deadline: Instant,
    pull: Pull,
    /// Where the client's offset was before arrivals that its filter did not want.
    asked: i64,
    reply_to: ReplyTo,
    held: Held,
}

impl Waiter {
    /// Number of its connection.
    fn connection(&self) -> u64 {
        self.held.channel().id()
    }

    /// Nobody is there to hear the answer.
    pub fn is_gone(&self) -> bool {
        !self.held.channel().is_open()
    }
}

impl Broker {
    pub(crate) fn pull(self: &Arc<Self>, exchange: &mut Exchange<'_, '_>) -> Outcome {
        let flags: i32 = exchange.number("sysFlag")?;
        // Not 0 for what is none: that would have the group read all of its queue again.
        let committed = (flags & COMMIT_OFFSET != 0).then(|| exchange.number("commitOffset")).transpose()?;
        let (group, topic) = self.check_puller(exchange)?;
        let place = match &topic.mapping {
            Some(mapping) if !is_physical(exchange) => match self.place_of_pull(exchange, mapping)? {
                Some(place) => place,
                None => return Ok(()),
            },
            _ => PullPlace {
                queue_id: exchange.number("queueId")?,
                offset: exchange.number("queueOffset")?,
                count_max: COUNT_MAX,
                logical: None,
            },
        };
        let pull = self.check_pull(exchange, flags, &group, topic, place)?;
        if let Some(offset) = committed {
            self.commit_with_pull(&pull, offset);
        }
        let queue_id = pull.queue.id() as i32;
        if let Some(offset) = self.offsets.take_reset(&pull.group, pull.queue.topic(), queue_id) {
            return self.answer_reset(exchange, &pull, offset);
        }
        let reader = pull.reader.as_ref();
        if let Some(offset) =
            reader.and_then(|reader| self.broadcast_start(pull.place(), reader, pull.offset))
        {
            return self.answer_reset(exchange, &pull, offset);
        }
        let suspend = (flags & SUSPEND != 0).then(|| self.suspend_time(exchange));
        let asked = Asked { pull, reply_to: exchange.request.reply_to(), suspend };
        match self.read(&asked.pull, self.reach())? {
            None => self.read_later(exchange.channel, asked),
            Some(result) if asked.waits(&result) => {
                let held = exchange::hold(exchange.channel)?;
                self.suspend(asked, held);
                Ok(())
            }
            Some(result) => {
                self.write_answer(&asked.pull, &result, asked.reply_to, exchange.out);
                Ok(())
            }
        }
    }

    fn commit_with_pull(&self, pull: &Pull, offset: i64) {
        if names::is_own_group(&pull.group) {
            return;
        }
        let topic = pull.queue.topic();
        if let Some(read) = &pull.logical {
            return self.commit_with_logical_pull(&pull.group, topic, &read.queue, offset);
        }
        let step = self.settings.load().consumer_offset_update_version_step;
        self.offsets.commit(&pull.group, topic, pull.queue.id() as i32, offset, step, self.now_ms());
    }

    /// Has a pull read on a thread that may wait for the disk, unless its group has had enough from there.
    fn read_later(self: &Arc<Self>, channel: &Arc<Channel>, asked: Asked) -> Outcome {
        if self.is_cold_limited(&asked.pull.group) {
            return self.hold_back(channel, asked);
        }
        let (held, reply_to) = (exchange::hold(channel)?, asked.reply_to);
        let work = |broker: &Arc<Broker>| broker.answer_later(asked, held);
        self.readers.submit(Arc::clone(channel), reply_to, Box::new(work))
    }

    /// Puts off a pull of a group that has had enough from the disk, as Java does: a push consumer comes again by
    /// itself, another gets one message after a pause.
    fn hold_back(self: &Arc<Self>, channel: &Arc<Channel>, mut asked: Asked) -> Outcome {
        let is_pushed = self
            .clients
            .with_consumer_group(&asked.pull.group, |online| online.is_some_and(ConsumerGroup::is_pushed));
        if is_pushed {
            let remark = "This consumer group is reading cold data. It has been flow control";
            return Err(Refusal::new(response::SYSTEM_BUSY, remark));
        }
        let held = exchange::hold(channel)?;
        let (channel, reply_to) = (Arc::clone(channel), asked.reply_to);
        asked.pull.limits.max_count = 1;
        let broker = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(cold::PAUSE).await;
            let Some(broker) = broker.upgrade() else { return };
            let work = |broker: &Arc<Broker>| broker.answer_later(asked, held);
            broker.readers.submit_late(&channel, reply_to, Box::new(work));
        });
        Ok(())
    }

    /// Answers a pull from a thread that may wait for the disk, or lets it wait for messages.
    fn answer_later(&self, asked: Asked, held: Held) {
        let mut out = Vec::new();
        match self.read(&asked.pull, Reach::Disk) {
            Ok(Some(result)) if asked.waits(&result) => return self.suspend(asked, held),
            Ok(Some(result)) => {
                self.note_cold_read(&asked.pull.group, result.records.byte_len());
                self.write_answer(&asked.pull, &result, asked.reply_to, &mut out);
            }
            Ok(None) => {}
            Err(refusal) => asked.reply_to.write(&mut out, refusal.code, Some(&refusal.remark)),
        }
        held.channel().send_directly(&out);
    }

    /// Checks of broker.md §10.2, in their order, as far as they are about who reads what topic.
    fn check_puller(
        &self,
        exchange: &Exchange<'_, '_>,
    ) -> Result<(Arc<SubscriptionGroupConfig>, Arc<Topic>), Refusal> {
        let settings = self.settings.load();
        let forbidden = |remark: String| Refusal::new(response::NO_PERMISSION, remark);
        if settings.broker_permission & wire::body::PERM_READ == 0 {
            return Err(forbidden(format!("the broker[{}] pulling message is forbidden", self.address)));
        }
        if exchange.request.header.code == code::LITE_PULL_MESSAGE && !settings.lite_pull_message_enable {
            return Err(forbidden(format!(
                "the broker[{}] for lite pull consumer is forbidden",
                self.address
            )));
        }
        let group_name = exchange.text("consumerGroup")?;
        let group = self.groups.find_or_create(group_name, &settings, self.now_ms())?;
        let group = group.ok_or_else(|| no_group(group_name))?;
        if !group.consume_enable {
            return Err(forbidden(format!("subscription group no permission, {group_name}")));
        }
        let topic_name = exchange.text("topic")?;
        let topic = self.topics.get(topic_name).ok_or_else(|| no_topic(topic_name))?;
        if !topic.is_readable() {
            return Err(forbidden(format!("the topic[{topic_name}] pulling message is forbidden")));
        }
        Ok((group, topic))
    }

    /// The checks that follow, about the queue and the filter.
    fn check_pull(
        &self,
        exchange: &Exchange<'_, '_>,
        flags: i32,
        group: &SubscriptionGroupConfig,
        topic: Arc<Topic>,
        place: PullPlace,
    ) -> Result<Pull, Refusal> {
        let PullPlace { queue_id, offset, count_max, logical } = place;
        let (group_name, topic_name) = (exchange.text("consumerGroup")?, exchange.text("topic")?);
        if queue_id < 0 || queue_id >= topic.config.read_queue_nums {
            let remark = not_readable(exchange, &topic, queue_id);
            return Err(Refusal::new(response::INVALID_PARAMETER, remark));
        }
        let filter = self.pull_filter(exchange, flags, group_name, group, topic_name)?;
        if self.topics.is_light(topic_name) {
            self.check_light_room(topic_name)?;
        }
        let queue = topic
            .queue(&self.store, queue_id as u32)
            .ok_or_else(|| Refusal::system(format!("topic {topic_name} has no queue {queue_id}")))?;
        let max_count = exchange.number_or("maxMsgNums", 32).min(count_max).clamp(1, COUNT_MAX) as u32;
        let max_bytes = exchange.number_or("maxMsgBytes", i64::MAX);
        Ok(Pull {
            group: group_name.to_owned(),
            queue: Arc::clone(queue),
            offset,
            limits: ReadLimits { max_count, max_bytes: u64::try_from(max_bytes).unwrap_or(u64::MAX) },
            filter,
            group_sys_flag: group.group_sys_flag,
            reader: self.broadcast_reader(exchange, group_name),
            topic,
            logical,
        })
    }

    /// The filter a pull brings along, or the one its group has registered (broker.md §10.2, rows 9 and 10).
    fn pull_filter(
        &self,
        exchange: &Exchange<'_, '_>,
        flags: i32,
        group_name: &str,
        group: &SubscriptionGroupConfig,
        topic: &str,
    ) -> Result<Filter, Refusal> {
        let unparsable = |remark: String| Refusal::new(response::SUBSCRIPTION_PARSE_FAILED, remark);
        if flags & CLASS_FILTER != 0 {
            return Err(unparsable("class filters are not served; subscribe by tags or SQL92".to_owned()));
        }
        let filter = if flags & SUBSCRIPTION != 0 {
            let kind = exchange.request.field("expressionType");
            let filter = self
                .filters
                .of_request(exchange.request.field("subscription"), kind)
                .map_err(|error| unparsable(error.to_string()))?;
            self.filters.with_known_bits(filter, topic, group_name)
        } else {
            self.registered_filter(group_name, group, topic, exchange.number_or("subVersion", 0))?
        };
        if matches!(filter, Filter::Sql(..)) {
            self.check_property_filter(SQL92)?;
        }
        Ok(filter)
    }

    /// Filters by properties are off unless the broker's owner allows them, as in Java.
    pub(crate) fn check_property_filter(&self, kind: &str) -> Result<(), Refusal> {
        if self.settings.load().enable_property_filter {
            return Ok(());
        }
        Err(Refusal::system(format!(
            "The broker does not support consumer to filter message by {kind}; enablePropertyFilter=true allows it"
        )))
    }

    fn registered_filter(
        &self,
        group_name: &str,
        group: &SubscriptionGroupConfig,
        topic: &str,
        wanted: i64,
    ) -> Result<Filter, Refusal> {
        self.clients.with_consumer_group(group_name, |registered| {
            let absent = |remark: String| Refusal::new(response::SUBSCRIPTION_NOT_EXIST, remark);
            let registered = registered
                .ok_or_else(|| absent(format!("the consumer's group info not exist, group {group_name}")))?;
            if registered.is_broadcast() && !group.consume_broadcast_enable {
                let remark = format!("the consumer group[{group_name}] can not consume by broadcast way");
                return Err(Refusal::new(response::NO_PERMISSION, remark));
            }
            if self.groups.is_read_forbidden(group_name, topic) {
                let remark = format!("the consumer group[{group_name}] is forbidden for topic[{topic}]");
                return Err(Refusal::new(response::NO_PERMISSION, remark));
            }
            let subscription = registered.subscriptions.get(topic).ok_or_else(|| {
                absent(format!("the consumer's subscription not exist, group {group_name}, topic {topic}"))
            })?;
            if subscription.data.sub_version < wanted {
                let remark = "the consumer's subscription not latest";
                return Err(Refusal::new(response::SUBSCRIPTION_NOT_LATEST, remark));
            }
            if is_tag_type(&subscription.data.expression_type) {
                return Ok(Filter::Tags(Arc::clone(&subscription.filter)));
            }
            match self.filters.find(topic, group_name) {
                None => {
                    let remark =
                        "The broker's consumer filter data is not exist!Your expression may be wrong!";
                    Err(Refusal::new(response::FILTER_DATA_NOT_EXIST, remark))
                }
                Some(registered) if registered.version < wanted => {
                    let remark = "the consumer's consumer filter data not latest";
                    Err(Refusal::new(response::FILTER_DATA_NOT_LATEST, remark))
                }
                Some(registered) => Ok(registered.into()),
            }
        })
    }

    fn read(&self, pull: &Pull, reach: Reach) -> Result<Option<ReadResult>, Refusal> {
        let read = self.read_within(reach, &pull.queue, pull.offset, pull.limits, &pull.filter);
        read.map_err(|error| {
            tracing::error!(topic = %pull.queue.topic(), queue = pull.queue.id(), "a pull is refused: {error}");
            error.into()
        })
    }

    /// Reads from a queue for whoever consumes, and notes what those far behind get.
    pub(crate) fn read_within(
        &self,
        reach: Reach,
        queue: &Queue,
        offset: i64,
        limits: ReadLimits,
        filter: &Filter,
    ) -> Result<Option<ReadResult>, StoreError> {
        let read = self.store.read_within(reach, queue, offset, limits, filter)?;
        if let Some(result) = read.as_ref().filter(|result| result.behind_bytes > NEAR_BYTES) {
            self.readers.note_far_read(result.records.byte_len() as u64);
        }
        Ok(read)
    }

    /// How far the threads that serve connections go for messages. While somebody sends they leave those who are far
    /// behind to the readers, even for what is in memory: the two would wait for each other. But not so that those
    /// behind never come closer.
    pub(crate) fn reach(&self) -> Reach {
        if self.readers.step_back() { Reach::Memory { behind_max: NEAR_BYTES } } else { Reach::MEMORY }
    }

    /// How long a pull that finds nothing waits.
    fn suspend_time(&self, exchange: &Exchange<'_, '_>) -> Duration {
        let settings = self.settings.load();
        if settings.long_polling_enable {
            Duration::from_millis(exchange.number_or("suspendTimeoutMillis", 15_000u64)).min(SUSPEND_MAX)
        } else {
            settings.short_polling_time_mills
        }
    }

    fn suspend(&self, asked: Asked, held: Held) {
        let Asked { pull, reply_to, suspend } = asked;
        self.note_broadcast(&pull, pull.offset);
        let deadline = self.hold.deadline(suspend.unwrap_or_default());
        let asked = pull.offset;
        if let Some(waiter) = self.park(Box::new(Waiter { deadline, pull, asked, reply_to, held })) {
            self.resume_pulls(vec![waiter]);
        }
    }

    /// Answers waiters whose queues have something new or whose time is over; those of one connection with one write.
    pub(crate) fn resume_pulls(&self, mut waiters: Vec<BoxedWaiter>) {
        waiters.sort_by_key(|waiter| waiter.connection());
        let mut waiters = waiters.into_iter().peekable();
        let (mut out, mut answered) = (Vec::new(), Vec::new());
        while let Some(waiter) = waiters.next() {
            let channel = Arc::clone(waiter.held.channel());
            answered.extend(self.resume_within(self.reach(), waiter, &mut out));
            let is_last = waiters.peek().is_none_or(|next| next.connection() != channel.id());
            if is_last || out.len() >= WRITTEN_AT_ONCE {
                channel.send_directly(&out);
                out.clear();
                // Not before: a connection that is to end waits for what it owes.
                answered.clear();
            }
        }
    }

    /// Writes the answer to a waiter, whose place is given back once that is sent. Arrivals that its filter does not
    /// want move its offset and let it wait on, and what is out of reach comes later; then there is no answer.
    fn resume_within(&self, reach: Reach, mut waiter: BoxedWaiter, out: &mut Vec<u8>) -> Option<Held> {
        while waiter.held.channel().is_open() {
            if self.is_gone(&waiter.pull.queue) {
                self.write_deleted(&waiter, out);
                break;
            }
            if self.has_moved(&waiter.pull) {
                self.write_again(&waiter, out);
                break;
            }
            let result = match self.read(&waiter.pull, reach) {
                Ok(Some(result)) => result,
                Ok(None) => {
                    self.resume_later(waiter);
                    return None;
                }
                Err(refusal) => {
                    waiter.reply_to.write(out, refusal.code, Some(&refusal.remark));
                    break;
                }
            };
            let unwanted = result.status == ReadStatus::NoMatchedMessage;
            let over = waiter.deadline <= Instant::now() || *self.stopping.borrow();
            if over || !(unwanted || waiter.pull.is_held(&result)) {
                self.write_last(&waiter, result, out);
                break;
            }
            if unwanted {
                waiter.pull.offset = result.next_offset;
            }
            waiter = self.park(waiter)?;
        }
        Some(waiter.held)
    }

    /// Whether what the pull's logical queue stands for has changed since it came.
    fn has_moved(&self, pull: &Pull) -> bool {
        let Some(read) = &pull.logical else { return false };
        let topic = self.topics.get(pull.queue.topic());
        !read.is_of(topic.as_ref().and_then(|topic| topic.mapping.as_ref()))
    }

    /// Tells a waiter whose queue was deleted what it would hear if it came now; if there is a topic of that name
    /// again, to go to its first message, since its offsets begin anew.
    fn write_deleted(&self, waiter: &Waiter, out: &mut Vec<u8>) {
        let queue = &waiter.pull.queue;
        if let Err(refusal) = self.check_still(queue.topic()) {
            return waiter.reply_to.write(out, refusal.code, Some(&refusal.remark));
        }
        let next = self.store.find_queue(queue.topic(), queue.id());
        let (min, max) = next.map_or((0, 0), |next| (next.min_offset() as i64, next.max_offset() as i64));
        let first = Told { code: response::SUCCESS, next: min, min, max, delta: None };
        write_where(waiter, response::PULL_OFFSET_MOVED, "QUEUE_DELETED", first, out);
    }

    /// Tells a waiter to ask again where it is: whoever leads its queue now knows the rest.
    fn write_again(&self, waiter: &Waiter, out: &mut Vec<u8>) {
        let pull = &waiter.pull;
        let (min, max) = (pull.queue.min_offset() as i64, pull.queue.max_offset() as i64);
        let here = Told { code: response::SUCCESS, next: pull.offset, min, max, delta: None };
        write_where(waiter, response::PULL_RETRY_IMMEDIATELY, "QUEUE_MOVED", here, out);
    }

    fn resume_later(&self, waiter: BoxedWaiter) {
        let (channel, reply_to) = (Arc::clone(waiter.held.channel()), waiter.reply_to);
        let work = |broker: &Arc<Broker>| {
            let mut out = Vec::new();
            if let Some(held) = broker.resume_within(Reach::Disk, waiter, &mut out) {
                held.channel().send_directly(&out);
            }
        };
        self.readers.submit_late(&channel, reply_to, Box::new(work));
    }

    /// Gives the waiter back if there is something to read already.
    fn park(&self, waiter: BoxedWaiter) -> Option<BoxedWaiter> {
        let queue = Arc::clone(&waiter.pull.queue);
        let offset = waiter.pull.offset.max(0) as u64;
        self.hold.park(&queue, offset, waiter, || self.is_gone(&queue))
    }

    /// Whether nothing comes to a queue any more. One whose topic is gone was deleted with it, or was made behind the
    /// deletion by a request that has the topic from before.
    fn is_gone(&self, queue: &Queue) -> bool {
        queue.is_deleted() || !self.topics.has(queue.topic())
    }

    /// Refuses who has waited for a topic that is gone; there may be one of its name again.
    pub(crate) fn check_still(&self, topic: &str) -> Outcome {
        if self.topics.has(topic) { Ok(()) } else { Err(no_topic(topic)) }
    }

    fn write_last(&self, waiter: &Waiter, result: ReadResult, out: &mut Vec<u8>) {
        let status = match result.status {
            // The client's offset must move past what its filter did not want.
            ReadStatus::OffsetOverflowOne if waiter.pull.offset != waiter.asked => {
                ReadStatus::NoMatchedMessage
            }
            status => status,
        };
        self.write_answer(&waiter.pull, &ReadResult { status, ..result }, waiter.reply_to, out);
    }

    fn write_answer(&self, pull: &Pull, result: &ReadResult, reply_to: ReplyTo, out: &mut Vec<u8>) {
        self.offsets.pulled(&pull.group, pull.queue.topic(), pull.queue.id() as i32, result.next_offset);
        if reply_to.oneway {
            return;
        }
        let start = out.len();
        let told = pull.told_by(result);
        let code = told.code;
        let moved = code == response::PULL_OFFSET_MOVED;
        self.note_broadcast(pull, if moved { result.next_offset } else { pull.offset });
        let mut writer = FrameWriter::new(out, &reply_to.head(code, Some(result.status.name())));
        write_fields(&mut writer, pull, &told);
        let mut copied = Ok(());
        writer.body_with(|out| {
            if code == response::SUCCESS {
                copied = result.records.copy_to(out);
            }
        });
        if let Err(error) = copied {
            out.truncate(start);
            tracing::error!(topic = %pull.queue.topic(), queue = pull.queue.id(), "cannot read the log: {error}");
            reply_to.write(
                out,
                response::SYSTEM_ERROR,
                Some("the commit log cannot be read; see the broker's log"),
            );
            return;
        }
        let (messages, bytes) = match code {
            response::SUCCESS => (result.records.messages(), result.records.byte_len() as u64),
            _ => (0, 0),
        };
        self.stats.got(&pull.group, pull.queue.topic(), messages, bytes);
    }

    /// Notes how far a member of a broadcast group has come.
    fn note_broadcast(&self, pull: &Pull, offset: i64) {
        if let Some(reader) = &pull.reader {
            self.broadcast.note(pull.place(), reader, offset, self.clock.monotonic());
        }
    }

    /// The group's offset was moved by an administrator, or a member's by its coming from elsewhere: the client drops
    /// what it has and starts there.
    fn answer_reset(&self, exchange: &mut Exchange<'_, '_>, pull: &Pull, offset: i64) -> Outcome {
        self.note_broadcast(pull, offset);
        let (min, max) = (pull.queue.min_offset() as i64, pull.queue.max_offset() as i64);
        // Told as what was found, since it is where the client shall go and not a place that it has come to the end of.
        let found = Told { code: response::SUCCESS, next: offset, min, max, delta: None };
        let told = pull.told(found);
        exchange.answer(response::PULL_OFFSET_MOVED, Some("OFFSET_RESET"), |mut writer| {
            write_fields(&mut writer, pull, &told);
            writer.empty();
        })
    }
}

impl Pull {
    fn place(&self) -> Place<'_> {
        Place { topic: self.queue.topic(), group: &self.group, queue: self.queue.id() as i32 }
    }

    /// What its client is told of a read.
    fn told_by(&self, result: &ReadResult) -> Told {
        self.told(Told {
            code: response_code(result.status, self.offset),
            next: result.next_offset,
            min: result.min_offset,
            max: result.max_offset,
            delta: None,
        })
    }

    /// The same in the offsets of the logical queue, if it reads one.
    fn told(&self, read: Told) -> Told {
        self.logical.as_ref().map_or(read, |logical| logical.told(self.offset, read))
    }

    /// Whether it waits at this outcome, if it may: code 19 does (broker.md §10.4). A hole in the queue is not waited
    /// at, since what comes behind it would wake the waiter for nothing.
    fn is_held(&self, result: &ReadResult) -> bool {
        result.status != ReadStatus::OffsetFoundNull && self.told_by(result).code == response::PULL_NOT_FOUND
    }
}

impl Asked {
    /// Whether the pull waits at what its read has found.
    fn waits(&self, result: &ReadResult) -> bool {
        self.suspend.is_some() && self.pull.is_held(result)
    }
}

/// Tells a waiter where to go on, with no messages.
fn write_where(waiter: &Waiter, code: i32, why: &str, place: Told, out: &mut Vec<u8>) {
    let pull = &waiter.pull;
    let told = Told { code, ..pull.told(place) };
    let _ = Reply { to: waiter.reply_to, out }.answer(code, Some(why), |mut writer| {
        write_fields(&mut writer, pull, &told);
        writer.empty();
    });
}

fn write_fields(writer: &mut FrameWriter<'_>, pull: &Pull, told: &Told) {
    writer.number("groupSysFlag", pull.group_sys_flag);
    told.write(writer);
    // There is no other replica to suggest yet.
    writer.number("suggestWhichBrokerId", 0);
    writer.number("topicSysFlag", pull.topic.config.topic_sys_flag);
}

fn response_code(status: ReadStatus, offset: i64) -> i32 {
    match status {
        ReadStatus::Found => response::SUCCESS,
        ReadStatus::MessageWasRemoving | ReadStatus::NoMatchedMessage => response::PULL_RETRY_IMMEDIATELY,
        ReadStatus::NoMatchedLogicQueue | ReadStatus::NoMessageInQueue if offset == 0 => {
            response::PULL_NOT_FOUND
        }
        ReadStatus::NoMatchedLogicQueue | ReadStatus::NoMessageInQueue => response::PULL_OFFSET_MOVED,
        ReadStatus::OffsetFoundNull | ReadStatus::OffsetOverflowOne => response::PULL_NOT_FOUND,
        ReadStatus::OffsetOverflowBadly | ReadStatus::OffsetTooSmall => response::PULL_OFFSET_MOVED,
    }
}

pub(crate) fn no_group(group: &str) -> Refusal {
    let remark = match names::check_group(group) {
        Err(error) => error.to_string(),
        Ok(()) => format!(
            "subscription group [{group}] does not exist and was not created; create it first, for example with updateSubGroup"
        ),
    };
    Refusal::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark)
}

pub(crate) fn no_topic(topic: &str) -> Refusal {
    Refusal::new(response::TOPIC_NOT_EXIST, format!("topic[{topic}] not exist, apply first please!"))
}

/// What a consumer is told whose topic has no such queue to read.
pub(crate) fn not_readable(exchange: &Exchange<'_, '_>, topic: &Topic, queue_id: i32) -> String {
    format!(
        "queueId[{queue_id}] is illegal, topic:[{}] topicConfig.readQueueNums:[{}] consumer:[{}]",
        topic.config.topic_name,
        topic.config.read_queue_nums,
        exchange.channel.peer()
    )
}
