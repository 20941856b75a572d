package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Lab;
import java.net.InetSocketAddress;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageClientIDSetter;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.common.message.MessageId;
import org.apache.rocketmq.common.message.MessageQueue;

/** The three ways to send, to a topic that the first send creates. */
public final class SyncAsyncAndOneWaySend implements Case {
    @Override
    public void run(Lab lab) throws Exception {
        String topic = lab.fresh("topic");
        List<String> sent = new ArrayList<>();

        Message first = message(topic, "first");
        SendResult created = lab.producer().send(first);
        sent.add("first");
        equal(SendStatus.SEND_OK, created.getSendStatus(), "status of the send that creates the topic");
        equal(topic, created.getMessageQueue().getTopic(), "topic in the result");
        equal("broker-a", created.getMessageQueue().getBrokerName(), "broker name in the result");
        equal(0L, created.getQueueOffset(), "queue offset of the first message");
        equal(MessageClientIDSetter.getUniqID(first), created.getMsgId(), "msgId, which the client made");
        eventually(10, "the created topic has the 4 queues of the default topic", () -> lab.queues(topic).size() == 4);

        MessageId decoded = MessageDecoder.decodeMessageId(created.getOffsetMsgId());
        String[] broker = lab.brokerAddress(topic).split(":");
        equal(broker[0], ((InetSocketAddress) decoded.getAddress()).getAddress().getHostAddress(), "host inside offsetMsgId");
        equal(Integer.parseInt(broker[1]), ((InetSocketAddress) decoded.getAddress()).getPort(), "port inside offsetMsgId");

        MessageQueue third = new MessageQueue(topic, "broker-a", 2);
        long before = lab.producer().maxOffset(third);
        for (int i = 0; i < 10; i++) {
            SendResult result = lab.producer().send(message(topic, "sync" + i), third);
            sent.add("sync" + i);
            equal(third, result.getMessageQueue(), "queue that was asked for");
            equal(before + i, result.getQueueOffset(), "queue offset of send " + i);
            check(MessageDecoder.decodeMessageId(result.getOffsetMsgId()).getOffset() > decoded.getOffset(), "commit log offsets do not grow");
        }

        CountDownLatch answered = new CountDownLatch(60);
        AtomicReference<String> wrong = new AtomicReference<>();
        for (int i = 0; i < 60; i++) {
            sent.add("async" + i);
            lab.producer().send(message(topic, "async" + i), new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    if (result.getSendStatus() != SendStatus.SEND_OK) wrong.set(result.toString());
                    answered.countDown();
                }

                @Override
                public void onException(Throwable failure) {
                    wrong.set(failure.toString());
                    answered.countDown();
                }
            });
        }
        check(answered.await(15, TimeUnit.SECONDS), "%d of 60 asynchronous sends had no answer after 15 s", answered.getCount());
        equal(null, wrong.get(), "failure of an asynchronous send");

        for (int i = 0; i < 30; i++) {
            lab.producer().sendOneway(message(topic, "oneway" + i));
            sent.add("oneway" + i);
        }
        eventually(10, "all are stored, the one-way ones too", () -> lab.stored(topic).size() >= sent.size());
        sameElements(sent, lab.stored(topic).stream().map(Lab::text).collect(Collectors.toList()), "stored");
    }
}
