package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Lab;
import interop.Popping;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.AckResult;
import org.apache.rocketmq.client.consumer.AckStatus;
import org.apache.rocketmq.client.consumer.PopResult;
import org.apache.rocketmq.client.consumer.PopStatus;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.remoting.protocol.RequestCode;
import org.apache.rocketmq.remoting.protocol.ResponseCode;

/** Every request around a pop, through the interface that the official proxy uses. */
public final class PopAndAcknowledgeByHand implements Case {
    private static final long SHORT_MILLIS = 3000;

    @Override
    public void run(Lab lab) throws Exception {
        acknowledges(lab);
        waits(lab);
        buries(lab);
    }

    /** One alone, two with one request, one hidden for longer, the rest left to come back. */
    private static void acknowledges(Lab lab) throws Exception {
        String topic = lab.topic(1);
        Popping group = new Popping(lab, topic, lab.group());
        lab.send(topic, "m", 8);
        equal(true, Popping.await(group.notification(0)), "notification while there are messages");
        equal("8", group.ask(RequestCode.PEEK_MESSAGE, ResponseCode.SUCCESS, "maxMsgNums", "8").get("restNum"), "messages left behind a peek");

        PopResult result = group.result(group.request(0, 6, SHORT_MILLIS, 0));
        List<MessageExt> first = Popping.found(result);
        equal(List.of("m0", "m1", "m2", "m3", "m4", "m5"), Popping.bodies(first), "first pop");
        equal(2L, result.getRestNum(), "messages left");
        equal(SHORT_MILLIS, result.getInvisibleTime(), "invisible time");
        equal(AckStatus.OK, group.ack(first.get(1)), "acknowledgement");
        equal(AckStatus.OK, group.ack(List.of(first.get(2), first.get(4))), "acknowledgement of two");
        AckResult hidden = group.hide(first.get(3), 2 * SHORT_MILLIS);
        equal(AckStatus.OK, hidden.getStatus(), "hiding");
        long hiddenAt = System.currentTimeMillis();

        List<MessageExt> rest = group.popAll(2, Popping.LONG_MILLIS, 5);
        equal(List.of("m6", "m7"), Popping.bodies(rest), "second pop");
        equal(AckStatus.OK, group.ack(rest), "acknowledgement of all");

        List<MessageExt> again = group.popAll(3, Popping.LONG_MILLIS, Popping.BACK_SECONDS_MAX);
        sameElements(List.of("m0", "m3", "m5"), Popping.bodies(again), "come back");
        equal("m3", text(again.get(2)), "the last to come back");
        check(System.currentTimeMillis() - hiddenAt >= 2 * SHORT_MILLIS - 1000, "m3 was not hidden for long enough");
        for (MessageExt message : again) {
            equal(1, message.getReconsumeTimes(), "reconsume times of " + text(message));
            equal(topic, message.getTopic(), "topic of " + text(message));
            String popped = message.getProperty("1ST_POP_TIME");
            check(Long.parseLong(popped) <= hiddenAt, "first pop time %s", popped);
        }
        // A handle is good once; one whose message was hidden anew is good no more.
        AckResult renewed = group.hide(again.get(0), Popping.LONG_MILLIS);
        equal(AckStatus.OK, group.ack(again.get(0), renewed.getExtraInfo()), "acknowledgement with the renewed handle");
        equal(AckStatus.OK, group.ack(again.subList(1, 3)), "acknowledgement of what came back");
        group.popsNothing(5);
    }

    /** A pop that waits is seen as waiting, and gets the next message. */
    private static void waits(Lab lab) throws Exception {
        String topic = lab.topic(2);
        Popping group = new Popping(lab, topic, lab.group());
        PopResult nothing = group.result(group.request(-1, 8, Popping.LONG_MILLIS, 600));
        equal(PopStatus.POLLING_NOT_FOUND, nothing.getPopStatus(), "status of a pop that waited in vain");
        equal("0", group.ask(RequestCode.POLLING_INFO, ResponseCode.SUCCESS).get("pollingNum"), "pops that wait");
        var waiting = group.send(group.request(-1, 8, Popping.LONG_MILLIS, 15_000));
        eventually(5, "the pop waits", () -> "1".equals(group.ask(RequestCode.POLLING_INFO, ResponseCode.SUCCESS).get("pollingNum")));
        lab.send(topic, "woken ", 1);
        List<MessageExt> found = Popping.found(Popping.await(waiting));
        equal(List.of("woken 0"), Popping.bodies(found), "what the waiting pop found");
        equal(AckStatus.OK, group.ack(found), "acknowledgement");
        equal(false, Popping.await(group.notification(500)), "notification while there is nothing");
        var told = group.notification(15_000);
        lab.send(topic, "news ", 1);
        equal(true, Popping.await(told), "notification of news");
        equal(1, group.popAll(1, Popping.LONG_MILLIS, 5).size(), "news");
    }

    /** After some failures a message becomes a dead letter as the proxy makes one, and comes no more. */
    private static void buries(Lab lab) throws Exception {
        String topic = lab.topic(1);
        String name = lab.group();
        Popping group = new Popping(lab, topic, name);
        lab.send(topic, "hopeless ", 1);
        List<Integer> times = new ArrayList<>();
        MessageExt last = null;
        for (int attempt = 0; attempt < 3; attempt++) {
            last = group.popAll(1, 1000, Popping.BACK_SECONDS_MAX).get(0);
            times.add(last.getReconsumeTimes());
        }
        equal(List.of(0, 1, 2), times, "reconsume times");
        group.bury(last);
        eventually(10, "the dead letter is there", () -> lab.stored("%DLQ%" + name).size() == 1);
        MessageExt dead = lab.stored("%DLQ%" + name).get(0);
        equal("hopeless 0", text(dead), "dead letter");
        equal(last.getMsgId(), dead.getMsgId(), "its id");
        group.popsNothing(6);
        equal(1, lab.stored("%DLQ%" + name).size(), "dead letters");
    }
}
