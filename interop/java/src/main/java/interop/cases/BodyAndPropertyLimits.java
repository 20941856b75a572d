package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Lab;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** 4 MiB of body and 32767 bytes of properties are stored, one byte more is refused by the broker with MESSAGE_ILLEGAL. */
public final class BodyAndPropertyLimits implements Case {
    private static final int BODY_BYTES_MAX = 4 * 1024 * 1024;
    private static final int MESSAGE_ILLEGAL = 13;

    @Override
    public void run(Lab lab) throws Exception {
        String topic = lab.topic(1);
        DefaultMQProducer producer = lab.newProducer();
        producer.setMaxMessageSize(32 * 1024 * 1024);   // the client itself would refuse more than 4 MiB
        producer.setCompressMsgBodyOverHowmuch(Integer.MAX_VALUE);
        producer.setRetryTimesWhenSendFailed(0);
        producer.setRetryTimesWhenSendAsyncFailed(0);
        producer.start();

        List<byte[]> bodies = new ArrayList<>();
        for (int size : new int[] {1, BODY_BYTES_MAX - 1, BODY_BYTES_MAX}) {
            byte[] body = random(size);
            equal(SendStatus.SEND_OK, producer.send(new Message(topic, body)).getSendStatus(), "send of " + size + " bytes");
            bodies.add(body);
        }

        refused(MESSAGE_ILLEGAL, "a body of 4 MiB + 1", () -> producer.send(new Message(topic, random(BODY_BYTES_MAX + 1))));
        refused(MESSAGE_ILLEGAL, "a body of 6 MiB", () -> producer.send(new Message(topic, random(6 * 1024 * 1024))));
        equal(MESSAGE_ILLEGAL, asyncCode(producer, new Message(topic, random(BODY_BYTES_MAX + 1))), "code in the callback of an asynchronous send");

        Message muchProperty = new Message(topic, utf8("properties"));
        muchProperty.putUserProperty("much", "p".repeat(32_000));
        equal(SendStatus.SEND_OK, producer.send(muchProperty).getSendStatus(), "send of 32000 bytes in a property");
        bodies.add(muchProperty.getBody());
        Message tooMuchProperty = new Message(topic, utf8("properties"));
        tooMuchProperty.putUserProperty("much", "p".repeat(33_000));
        refused(MESSAGE_ILLEGAL, "33000 bytes in a property", () -> producer.send(tooMuchProperty));

        // Refusals left nothing behind, and what was accepted is whole.
        SendResult last = producer.send(message(topic, "last"), new MessageQueue(topic, "broker-a", 0));
        bodies.add(utf8("last"));
        equal((long) bodies.size() - 1, last.getQueueOffset(), "queue offset after the refusals");
        List<MessageExt> stored = lab.stored(topic);
        equal(bodies.size(), stored.size(), "messages stored");
        for (int i = 0; i < bodies.size(); i++) {
            check(Arrays.equals(bodies.get(i), stored.get(i).getBody()), "body %d of %d bytes differs", i, bodies.get(i).length);
        }
        equal(32_000, stored.get(3).getUserProperty("much").length(), "length of the long property");
    }

    private static int asyncCode(DefaultMQProducer producer, Message message) throws Exception {
        CompletableFuture<Integer> code = new CompletableFuture<>();
        producer.send(message, new SendCallback() {
            @Override
            public void onSuccess(SendResult result) {
                code.complete(0);
            }

            @Override
            public void onException(Throwable failure) {
                code.complete(failure instanceof MQBrokerException ? ((MQBrokerException) failure).getResponseCode() : -1);
            }
        });
        return code.get(15, TimeUnit.SECONDS);
    }

    private static byte[] random(int size) {
        byte[] bytes = new byte[size];
        new Random(size).nextBytes(bytes);
        return bytes;
    }
}
