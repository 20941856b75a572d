package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Lab;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.RequestTimeoutException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.RequestCallback;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.message.Message;

/** The request API: a consumer replies, the one that asked gets exactly its answer; nobody replies, and the request times out. */
public final class RequestIsAnswered implements Case {
    @Override
    public void run(Lab lab) throws Exception {
        String topic = lab.topic(2);
        DefaultMQProducer replier = lab.newProducer();
        replier.start();
        DefaultMQPushConsumer consumer = lab.pushConsumer(lab.group());
        consumer.subscribe(topic, "*");
        CompletableFuture<Exception> trouble = new CompletableFuture<>();
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (var message : messages) {
                if (text(message).equals("silence")) continue;
                try {
                    equal(message.getProperty("CLUSTER"), "DefaultCluster", "cluster on the request");
                    Message reply = MessageUtil.createReplyMessage(message, utf8("re: " + text(message)));
                    replier.send(reply, 5000);
                } catch (Exception failure) {
                    trouble.complete(failure);
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        eventually(20, "the consumer has both queues", () -> assignedQueues(consumer, topic) == 2);

        DefaultMQProducer asker = lab.newProducer();
        asker.setCompressMsgBodyOverHowmuch(4096);
        asker.start();
        for (int i = 0; i < 20; i++) {
            String question = i % 5 == 4 ? ("question" + i + " ").repeat(1000) : "question" + i;
            Message answer = asker.request(message(topic, question), 20_000);
            check(!trouble.isDone(), "a reply failed: %s", trouble.isDone() ? trouble.get() : "");
            equal("re: " + question, text(answer), "answer to question " + i);
        }
        CompletableFuture<String> later = new CompletableFuture<>();
        asker.request(message(topic, "asynchronous"), new RequestCallback() {
            @Override
            public void onSuccess(Message answer) {
                later.complete(text(answer));
            }

            @Override
            public void onException(Throwable failure) {
                later.completeExceptionally(failure);
            }
        }, 20_000);
        equal("re: asynchronous", later.get(25, TimeUnit.SECONDS), "answer to the asynchronous request");
        try {
            asker.request(message(topic, "silence"), 1500);
            throw new Failed("nobody replied, and yet there was an answer");
        } catch (RequestTimeoutException expected) {
            // As it should be.
        }
    }
}
