package interop;

import static interop.Lab.*;

import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.common.message.MessageRequestMode;
import org.apache.rocketmq.remoting.protocol.admin.OffsetWrapper;
import org.apache.rocketmq.remoting.protocol.route.BrokerData;

/**
 * Consumers that let brokers assign their queues, on two masters: one group pulls, one pops, and one pops from a part of the queues.
 * Each gets every message of both masters, alone and with several members, also after a master was away for a while. Run by
 * {@code interop/cluster}; the masters are called as its arguments say.
 */
public final class ConsumersOfSeveralMasters {
    private static final int QUEUES_EACH = 3;
    /** Clients look for routes every so often here; their default is 30 s. */
    private static final int ROUTE_MS = 1000;
    /** A message that begins with this is not taken the first time. */
    private static final String LATER = "later";

    private final Lab lab = Lab.of("ConsumersOfSeveralMasters");
    private final TreeSet<String> masters;
    private final String topic = lab.fresh("shared");
    private final Map<String, Members> groups = new LinkedHashMap<>();
    /** Bodies that were acknowledged. */
    private final List<String> sent = new ArrayList<>();
    private DefaultMQProducer producer;

    private ConsumersOfSeveralMasters(String[] masters) {
        this.masters = new TreeSet<>(List.of(masters));
    }

    public static void main(String[] masters) {
        int code = 0;
        ConsumersOfSeveralMasters situation = new ConsumersOfSeveralMasters(masters);
        try {
            situation.run();
        } catch (Throwable failure) {
            System.out.println("FAIL ConsumersOfSeveralMasters: " + failure);
            failure.printStackTrace();
            code = 1;
        }
        situation.lab.close();
        System.exit(code);
    }

    private void run() throws Exception {
        producer = lab.newProducer();
        producer.setPollNameServerInterval(ROUTE_MS);
        producer.setSendMsgTimeout(3000);
        producer.start();
        Dialect.createTopic(producer, topic, QUEUES_EACH);
        eventually(20, "the topic has queues on all masters", () -> lab.queues(topic).size() == QUEUES_EACH * masters.size());
        produce("backlog ", 60);
        equal(Map.of("broker-a", 30, "broker-b", 30), perMaster, "messages that went to each master");

        groups.put("pulls", new Members(MessageRequestMode.PULL, 0));
        groups.put("pops", new Members(MessageRequestMode.POP, 0));
        groups.put("pops some", new Members(MessageRequestMode.POP, 1));
        for (Members members : groups.values()) members.join(1);
        everyGroupHas(sent);
        for (Members members : groups.values()) members.getQueues();

        groups.get("pulls").join(1);
        groups.get("pops").join(1);
        groups.get("pops some").join(2);
        for (Members members : groups.values()) members.getQueues();
        produce("shared ", 120);
        produce(LATER + " ", 12);
        everyGroupHas(sent);
        // Of those that pop from the same queues one may be the quicker every time.
        equal(2L, groups.get("pulls").whoReceived("shared "), "members of the group that pulls with messages");

        // The other master alone takes what is sent meanwhile.
        cluster("stop", 1);
        perMaster.clear();
        produce("alone ", 30);
        equal(Map.of("broker-a", 30), perMaster, "messages that went to each master while one was away");
        everyGroupHas(sent);
        cluster("start", 1);
        eventually(20, "the master is back", () -> lab.queues(topic).size() == QUEUES_EACH * masters.size());
        for (Members members : groups.values()) members.getQueues();
        // The producer hears of it by its timer.
        perMaster.clear();
        eventually(20, "the master that was away is sent to", () -> {
            produce("again ", 6);
            return perMaster.containsKey("broker-b");
        });
        produce("again ", 60);
        everyGroupHas(sent);
        for (Members members : groups.values()) members.eventuallyCommitted();
    }

    // ---- sending -----------------------------------------------------------------------------------------------

    private final Map<String, Integer> perMaster = new TreeMap<>();
    private int number;

    /** Sends to whatever queue the producer takes next; what is refused is sent again. */
    private void produce(String prefix, int count) throws InterruptedException {
        for (int i = 0; i < count; i++) {
            String body = prefix + number++;
            eventually(30, body + " is taken", () -> {
                SendResult result = producer.send(message(topic, body));
                perMaster.merge(result.getMessageQueue().getBrokerName(), 1, Integer::sum);
                return result.getSendStatus() == SendStatus.SEND_OK;
            });
            sent.add(body);
        }
    }

    private void everyGroupHas(Collection<String> bodies) throws InterruptedException {
        for (Members members : groups.values()) members.inbox.receivesAtLeast(List.copyOf(bodies), 60);
    }

    // ---- consuming ---------------------------------------------------------------------------------------------

    /** The members of one group. */
    private final class Members {
        final String group = lab.group();
        final MessageRequestMode mode;
        final int share;
        final List<DefaultMQPushConsumer> consumers = new ArrayList<>();
        final Inbox inbox = new Inbox();

        Members(MessageRequestMode mode, int share) throws Exception {
            this.mode = mode;
            this.share = share;
            for (BrokerData master : lab.admin().examineTopicRouteInfo(topic).getBrokerDatas()) {
                String address = master.getBrokerAddrs().get(0L);
                Dialect.createGroup(lab.admin(), address, group, 16);
                lab.admin().setMessageRequestMode(address, topic, group, mode, share, 5000);
            }
        }

        void join(int more) throws Exception {
            for (int i = 0; i < more; i++) {
                DefaultMQPushConsumer member = lab.pushConsumer(group);
                member.setClientRebalance(false);
                member.setPopInvisibleTime(5000);
                member.setPollNameServerInterval(ROUTE_MS);
                member.setPersistConsumerOffsetInterval(500);
                member.registerMessageListener((MessageListenerConcurrently) (messages, context) -> take(messages.get(0), member.getInstanceName()));
                member.subscribe(topic, "*");
                member.start();
                consumers.add(member);
            }
        }

        private ConsumeConcurrentlyStatus take(MessageExt message, String member) {
            if (text(message).startsWith(LATER) && message.getReconsumeTimes() == 0) return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            inbox.put(message, member);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        }

        /** Waits until the members have the queues of all masters, shared as the mode says. */
        void getQueues() throws InterruptedException {
            eventually(40, "the group that " + mode + "s with " + share + " has its queues: " + consumers.size() + " members", () -> {
                for (DefaultMQPushConsumer member : consumers) Popping.askForQueues(member);
                List<TreeSet<String>> shares = consumers.stream().map(this::queuesOf).collect(Collectors.toList());
                return mode == MessageRequestMode.PULL ? disjoint(shares) : shares.stream().allMatch(share == 0 || shares.size() < 3 ? this::all : this::some);
            });
        }

        private TreeSet<String> queuesOf(DefaultMQPushConsumer member) {
            var rebalance = member.getDefaultMQPushConsumerImpl().getRebalanceImpl();
            Stream<MessageQueue> pulled = rebalance.getProcessQueueTable().keySet().stream();
            Stream<MessageQueue> popped = rebalance.getPopProcessQueueTable().keySet().stream();
            Stream<MessageQueue> queues = mode == MessageRequestMode.PULL ? pulled : popped;
            return queues.filter(queue -> queue.getTopic().equals(topic)).map(queue -> queue.getBrokerName() + " " + queue.getQueueId())
                .collect(Collectors.toCollection(TreeSet::new));
        }

        /** Every queue of every master is one member's. */
        private boolean disjoint(List<TreeSet<String>> shares) {
            List<String> together = shares.stream().flatMap(Collection::stream).sorted().collect(Collectors.toList());
            return together.equals(masters.stream().flatMap(master -> Stream.of(0, 1, 2).map(id -> master + " " + id)).collect(Collectors.toList()));
        }

        /** All queues of every master. */
        private boolean all(TreeSet<String> share) {
            return share.equals(masters.stream().map(master -> master + " -1").collect(Collectors.toCollection(TreeSet::new)));
        }

        /** Of six queues for three members its own two and those of the next one. */
        private boolean some(TreeSet<String> share) {
            return share.size() == 4 && share.stream().noneMatch(queue -> queue.endsWith(" -1"));
        }

        /** How many members have received messages that begin with this. */
        long whoReceived(String prefix) {
            return inbox.deliveries().stream().filter(delivery -> delivery.body.startsWith(prefix)).map(delivery -> delivery.member).distinct().count();
        }

        void eventuallyCommitted() throws InterruptedException {
            eventually(40, "group that " + mode + "s has committed the end of every queue", () -> {
                Map<MessageQueue, OffsetWrapper> offsets = lab.admin().examineConsumeStats(group, topic).getOffsetTable();
                return offsets.size() == QUEUES_EACH * masters.size()
                    && offsets.values().stream().allMatch(offset -> offset.getConsumerOffset() == offset.getBrokerOffset());
            });
        }
    }
}
