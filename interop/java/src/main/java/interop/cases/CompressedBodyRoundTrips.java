package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Dialect;
import interop.Inbox;
import interop.Lab;
import java.util.ArrayList;
import java.util.List;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageExt;

/** Bodies over 4 KiB travel and are stored compressed; the consumer sees them as they were. */
public final class CompressedBodyRoundTrips implements Case {
    @Override
    public void run(Lab lab) throws Exception {
        String topic = lab.topic(1);
        List<String> bodies = new ArrayList<>();
        for (String compression : Dialect.COMPRESSIONS) {
            DefaultMQProducer producer = lab.newProducer();
            Dialect.compressWith(producer, compression);
            producer.start();
            for (String body : new String[] {compression + " small", compression + " large ".repeat(30_000)}) {
                producer.send(message(topic, body));
                bodies.add(body);
            }
        }

        List<MessageExt> stored = lab.stored(topic);
        equal(bodies.size(), stored.size(), "messages stored");
        for (MessageExt message : stored) {
            // The compressed flag itself cannot be asked: the 5.x client clears it when it has decompressed.
            check(message.getStoreSize() < 5000, "stored in %d bytes", message.getStoreSize());
        }

        Inbox inbox = new Inbox();
        var consumer = inbox.feedFrom(lab.pushConsumer(lab.group()));
        consumer.subscribe(topic, "*");
        consumer.start();
        inbox.receivesExactly(bodies, 15);
    }
}
