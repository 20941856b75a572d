package interop;

import static interop.Lab.*;

import java.nio.file.Files;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ConcurrentHashMap;
import java.util.Set;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * One leg of interop/store-roundtrip with PROGRAM=TransactionLeg: transactions that the broker before left open are asked about and
 * end as their producer says, each once; what was decided stays so. Then some are decided and some are left open for the next leg.
 * The ledger is a list of what must be in the topic.
 */
public final class TransactionLeg extends Leg implements TransactionListener {
    private static final String TOPIC = "HandedOver";
    private static final String GROUP = "HandedOverGroup";
    private static final int EACH = 5;

    private final Set<String> checked = ConcurrentHashMap.newKeySet();

    private TransactionLeg(String[] arguments) {
        super(arguments);
    }

    public static void main(String[] arguments) {
        new TransactionLeg(arguments).runAndExit();
    }

    @Override
    void run() throws Exception {
        if (leg == 1) Dialect.createTopic(lab.producer(), TOPIC, 1);
        eventually(30, "the topic has a route", () -> lab.queues(TOPIC).size() == 1);
        List<String> expected = Files.exists(ledger) ? new ArrayList<>(Files.readAllLines(ledger)) : new ArrayList<>();

        TransactionMQProducer producer = new TransactionMQProducer(GROUP);
        producer.setNamesrvAddr(NAMESRV);
        producer.setInstanceName(lab.fresh("client"));
        producer.setHeartbeatBrokerInterval(1000);
        producer.setSendMsgTimeout(10_000);
        producer.setTransactionListener(this);
        lab.whenClosed(producer::shutdown);
        producer.start();
        for (int i = 0; i < EACH; i++) {
            for (String kind : List.of("commit", "rollback", "open-commit", "open-rollback")) {
                producer.sendMessageInTransaction(message(TOPIC, kind + " " + i + " of leg " + leg), null);
            }
            expected.add("commit " + i + " of leg " + leg);
            if (leg > 1) expected.add("open-commit " + i + " of leg " + (leg - 1));
        }
        eventually(60, "all committed messages are there", () -> bodies().containsAll(expected));
        // Long enough for a further round of checks, which must change nothing, and for Java to write down its decisions.
        Thread.sleep(7000);
        sameElements(expected, bodies(), "in the topic");
        for (String body : checked) check(body.startsWith("open"), "a decided message was checked: %s", body);
        if (leg > 1) {
            long older = checked.stream().filter(body -> body.endsWith("leg " + (leg - 1))).count();
            equal(2L * EACH, older, "open messages of the leg before that were checked");
        }
        Files.write(ledger, expected);
        System.out.println("ok  leg " + leg + ": " + expected.size() + " messages committed, each once; " + checked.size() + " checked");
    }

    private List<String> bodies() throws Exception {
        return lab.stored(TOPIC).stream().map(Lab::text).collect(Collectors.toList());
    }

    @Override
    public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
        return decide(text(message));
    }

    @Override
    public LocalTransactionState checkLocalTransaction(MessageExt message) {
        String body = text(message);
        checked.add(body);
        // Those of this leg are for the next one.
        return body.endsWith("leg " + leg) ? LocalTransactionState.UNKNOW : decide(body.replace("open-", ""));
    }

    private static LocalTransactionState decide(String body) {
        if (body.startsWith("commit")) return LocalTransactionState.COMMIT_MESSAGE;
        return body.startsWith("rollback") ? LocalTransactionState.ROLLBACK_MESSAGE : LocalTransactionState.UNKNOW;
    }
}
