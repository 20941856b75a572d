package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Inbox;
import interop.Lab;
import interop.Transacting;
import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.TransactionMQProducer;

/** The producer of a half message is gone before it knows; another one of its group is asked and commits. */
public final class AnotherProducerAnswersTheCheck implements Case {
    @Override
    public void run(Lab lab) throws Exception {
        String topic = lab.topic(1);
        String group = lab.group();
        Transacting first = new Transacting();
        TransactionMQProducer leaving = first.producer(lab, group);
        leaving.sendMessageInTransaction(message(topic, "unknown-commit0"), null);
        leaving.shutdown();

        Transacting second = new Transacting();
        TransactionMQProducer staying = second.producer(lab, group);
        // A producer tells of itself only to brokers that it has a route to.
        staying.sendMessageInTransaction(message(topic, "commit1"), null);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = inbox.feedFrom(lab.pushConsumer(lab.group()));
        consumer.subscribe(topic, "*");
        consumer.start();
        inbox.receivesExactly(List.of("commit1", "unknown-commit0"), 40);
        equal(List.of("unknown-commit0"), second.checked(), "what the second producer was asked about");
    }
}
