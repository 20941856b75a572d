package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Inbox;
import interop.Lab;
import interop.Transacting;
import java.util.ArrayList;
import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.producer.TransactionSendResult;
import org.apache.rocketmq.common.message.MessageExt;

/** Commit, rollback, and "not known yet" that a check turns into either; what a check shows of the message. */
public final class TransactionsEndAsTheirProducersSay implements Case {
    @Override
    public void run(Lab lab) throws Exception {
        String topic = lab.topic(2);
        Transacting transacting = new Transacting();
        TransactionMQProducer producer = transacting.producer(lab, lab.group());
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = inbox.feedFrom(lab.pushConsumer(lab.group()));
        consumer.subscribe(topic, "TagT");
        consumer.start();

        List<String> committed = new ArrayList<>();
        List<TransactionSendResult> results = new ArrayList<>();
        for (int i = 0; i < 30; i++) {
            // commit0, rollback1, unknown-commit2, unknown-rollback3, commit4, …
            String body = List.of("commit", "rollback", "unknown-commit", "unknown-rollback").get(i % 4) + i;
            var message = message(topic, body);
            message.setTags("TagT");
            message.setKeys("key" + i);
            message.putUserProperty("own", "value" + i);
            TransactionSendResult result = producer.sendMessageInTransaction(message, i);
            equal(SendStatus.SEND_OK, result.getSendStatus(), "send status");
            equal(body.startsWith("unknown") ? LocalTransactionState.UNKNOW : body.startsWith("commit")
                ? LocalTransactionState.COMMIT_MESSAGE : LocalTransactionState.ROLLBACK_MESSAGE, result.getLocalTransactionState(), "local state");
            if (body.contains("commit")) committed.add(body);
            results.add(result);
        }
        inbox.receivesExactly(committed, 40);
        for (Inbox.Delivery delivery : inbox.deliveries()) {
            int number = Integer.parseInt(delivery.body.replaceAll("\\D", ""));
            MessageExt message = delivery.message;
            equal("value" + number, message.getUserProperty("own"), "property of " + delivery.body);
            equal("key" + number, message.getKeys(), "keys of " + delivery.body);
            equal(results.get(number).getMsgId(), message.getMsgId(), "id of " + delivery.body);
            equal(results.get(number).getTransactionId(), message.getTransactionId(), "transaction id of " + delivery.body);
            check(message.getPreparedTransactionOffset() > 0 || number == 0, "no prepared offset on %s", delivery.body);
        }
        // Nothing is asked about that was decided, and nothing twice that was answered.
        check(transacting.checked().stream().allMatch(body -> body.startsWith("unknown")), "checked: %s", transacting.checked());
        eventually(20, "every unknown one was checked", () -> transacting.checked().containsAll(List.of("unknown-commit2", "unknown-rollback3")));
    }
}
