package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Inbox;
import interop.Lab;
import interop.Transacting;
import java.util.ArrayList;
import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.TransactionMQProducer;

/** The server is killed, and later stopped, with half messages open: each is asked about, and nothing decided is asked about again. */
public final class OpenTransactionsSurviveBrokerRestart implements Case {
    @Override
    public boolean alone() {
        return true;
    }

    @Override
    public void run(Lab lab) throws Exception {
        String topic = lab.topic(1);
        Transacting transacting = new Transacting();
        transacting.silent = true;
        TransactionMQProducer producer = transacting.producer(lab, lab.group());
        List<String> committed = new ArrayList<>();
        int number = 0;
        for (String end : List.of("kill", "stop")) {
            for (String body : List.of("commit", "unknown-commit", "rollback", "unknown-rollback")) {
                String numbered = body + number;
                // The client's connection may have died with the server before.
                eventually(30, "a half message is taken", () -> producer.sendMessageInTransaction(message(topic, numbered), null) != null);
                if (body.contains("commit")) committed.add(body + number);
                number++;
            }
            Thread.sleep(300);   // the client sends its decisions one way
            server(end);
            server("start");
        }
        transacting.silent = false;
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = inbox.feedFrom(lab.pushConsumer(lab.group()));
        consumer.subscribe(topic, "*");
        consumer.start();
        inbox.receivesExactly(committed, 60);
        check(transacting.checked().stream().allMatch(body -> body.startsWith("unknown")), "checked: %s", transacting.checked());
    }
}
