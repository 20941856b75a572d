package interop;

import static interop.Lab.*;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.producer.selector.SelectMessageQueueByHash;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * Does with the official client what another program asks for, an order a line, and answers each with a line. The other program is
 * {@code crates/client/examples/both_ways.rs}, which says the same of the same messages.
 */
public final class Peer {
    private static final int COUNT = 12;
    private static final int SECONDS_MAX = 60;

    private final Lab lab = Lab.of("Peer");

    public static void main(String[] arguments) throws Exception {
        Peer peer = new Peer();
        BufferedReader orders = new BufferedReader(new InputStreamReader(System.in));
        for (String order = orders.readLine(); order != null; order = orders.readLine()) {
            try {
                List<String> told = peer.obey(order.split("\t"));
                System.out.println(told.stream().map(one -> "\t" + one).collect(Collectors.joining("", "ok", "")));
            } catch (Throwable failure) {
                System.out.println("failed\t" + String.valueOf(failure).replace('\n', ' '));
            }
            if (order.equals("end")) break;
        }
        peer.lab.close();
        System.exit(0);
    }

    private List<String> obey(String[] order) throws Exception {
        switch (order[0]) {
            case "send": return send(order[1], order[2]);
            case "receive": return receive(order[1], order[2], order[3], Integer.parseInt(order[4]));
            case "ask": return ask(order[1], order[2]);
            case "answer": return answer(order[1], order[2]);
            case "end": return List.of();
            default: throw new Failed("no such order: " + order[0]);
        }
    }

    private List<String> send(String kind, String topic) throws Exception {
        if (kind.equals("transaction")) return transact(topic);
        List<Message> messages = new ArrayList<>();
        for (int i = 0; i < COUNT; i++) messages.add(message(topic, kind, i));
        if (kind.equals("batch")) {
            lab.producer().send(messages);
        } else {
            for (int i = 0; i < COUNT; i++) {
                Message message = messages.get(i);
                if (kind.equals("delayed")) message.setDelayTimeLevel(1);
                if (kind.equals("ordered")) {
                    lab.producer().send(message, new SelectMessageQueueByHash(), "key" + i % 3);
                } else {
                    lab.producer().send(message);
                }
            }
        }
        List<String> told = new ArrayList<>();
        for (int i = 0; i < COUNT; i++) told.add(expected(kind, i));
        return told;
    }

    /** Every third is committed, every third taken back, and every third committed when the broker asks. */
    private List<String> transact(String topic) throws Exception {
        TransactionMQProducer producer = new TransactionMQProducer(lab.group());
        producer.setNamesrvAddr(NAMESRV);
        producer.setInstanceName(lab.fresh("client"));
        producer.setHeartbeatBrokerInterval(1000);
        producer.setTransactionListener(new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message message, Object number) {
                switch ((int) number % 3) {
                    case 0: return LocalTransactionState.COMMIT_MESSAGE;
                    case 1: return LocalTransactionState.ROLLBACK_MESSAGE;
                    default: return LocalTransactionState.UNKNOW;
                }
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt message) {
                return LocalTransactionState.COMMIT_MESSAGE;
            }
        });
        lab.whenClosed(producer::shutdown);
        producer.start();
        List<String> told = new ArrayList<>();
        for (int i = 0; i < COUNT; i++) {
            producer.sendMessageInTransaction(message(topic, "transaction", i), i);
            if (i % 3 != 1) told.add(expected("transaction", i));
        }
        return told;
    }

    private List<String> receive(String kind, String topic, String group, int count) throws Exception {
        DefaultMQPushConsumer consumer = kind.equals("popped") ? Dialect.popping(lab, group) : lab.pushConsumer(group);
        Inbox inbox = new Inbox();
        if (kind.equals("ordered")) inbox.feedInOrderFrom(consumer, "peer", 1);
        else inbox.feedFrom(consumer, "peer");
        if (kind.equals("broadcast")) Dialect.broadcast(consumer);
        consumer.subscribe(topic, "tag");
        consumer.start();
        try {
            eventually(SECONDS_MAX, count + " messages came", () -> inbox.size() >= count);
            return inbox.deliveries().stream().map(delivery -> describe(delivery.message)).collect(Collectors.toList());
        } finally {
            consumer.shutdown();
        }
    }

    private List<String> ask(String topic, String text) throws Exception {
        return List.of(text(lab.producer().request(Lab.message(topic, text), SECONDS_MAX * 1000)));
    }

    private List<String> answer(String topic, String group) throws Exception {
        DefaultMQProducer replier = lab.producer();
        DefaultMQPushConsumer consumer = lab.pushConsumer(group);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt asked : messages) {
                try {
                    replier.send(MessageUtil.createReplyMessage(asked, utf8("re: " + text(asked))), 5000);
                } catch (Exception failure) {
                    return ConsumeConcurrentlyStatus.RECONSUME_LATER;
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        return List.of();
    }

    private static String body(String kind, int number) {
        String brief = kind + " " + number;
        return kind.equals("compressed") ? brief + " " + "long ".repeat(2000) : brief;
    }

    private static Message message(String topic, String kind, int number) {
        Message message = new Message(topic, "tag", kind + "-" + number, utf8(body(kind, number)));
        message.putUserProperty("number", String.valueOf(number));
        return message;
    }

    private static String told(String body, String tag, String key, String number) {
        return body.substring(0, Math.min(20, body.length())) + "|" + body.length() + "|" + tag + "|" + key + "|" + number;
    }

    private static String expected(String kind, int number) {
        return told(body(kind, number), "tag", kind + "-" + number, String.valueOf(number));
    }

    private static String describe(MessageExt message) {
        return told(text(message), message.getTags(), message.getKeys(), message.getUserProperty("number"));
    }
}
