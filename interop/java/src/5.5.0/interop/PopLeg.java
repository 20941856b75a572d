package interop;

import static interop.Lab.*;

import java.nio.file.Files;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.AckResult;
import org.apache.rocketmq.client.consumer.AckStatus;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.remoting.protocol.header.PopMessageRequestHeader;

/**
 * One leg of interop/store-roundtrip with PROGRAM=PopLeg: each message that the broker before has given away and that nobody has
 * acknowledged comes back, once and counted; what was acknowledged does not; what nobody had popped is there. An orderly group goes
 * on where it stood. Then messages are popped, acknowledged, hidden and left in all ways for the next leg. The ledger tells by
 * body which messages are left, and how often each will have failed.
 */
public final class PopLeg extends Leg {
    private static final String TOPIC = "PoppedOver";
    private static final String GROUP = "PoppedOverGroup";
    private static final String ORDERED = "PoppedInOrder";
    private static final int SENT = 40;
    private static final int SENT_IN_ORDER = 3;
    /** Due while no broker runs, or soon after the next start. */
    private static final long SHORT_MILLIS = 6_000;
    /** Due while the next leg runs. */
    private static final long LATER_MILLIS = 25_000;
    /** Not due before the leg has ended. */
    private static final long LONG_MILLIS = 900_000;
    private static final int BACK_SECONDS_MAX = 90;
    /** Longer than a Java broker takes for what it would bring back by mistake. */
    private static final int QUIET_SECONDS = 12;

    /** What this leg leaves, with the times it will have failed. */
    private final Map<String, Integer> left = new TreeMap<>();
    private final List<String> leftInOrder = new ArrayList<>();

    private PopLeg(String[] arguments) {
        super(arguments);
    }

    public static void main(String[] arguments) {
        new PopLeg(arguments).runAndExit();
    }

    @Override
    void run() throws Exception {
        Map<String, Integer> expected = new TreeMap<>();
        List<String> inOrder = new ArrayList<>();
        if (leg == 1) {
            Dialect.createTopic(lab.producer(), TOPIC, 2);
            Dialect.createTopic(lab.producer(), ORDERED, 1);
        } else {
            for (String line : Files.readAllLines(ledger)) {
                String[] parts = line.split("\t");
                if (parts[0].equals("ordered")) inOrder.add(parts[1]);
                else expected.put(parts[1], Integer.parseInt(parts[0]));
            }
        }
        eventually(30, "the topics have routes", () -> lab.queues(TOPIC).size() == 2 && lab.queues(ORDERED).size() == 1);
        Popping group = new Popping(lab, TOPIC, GROUP);
        Popping ordered = new Popping(lab, ORDERED, GROUP);

        List<MessageExt> again = comeBack(group, expected);
        goOnInOrder(ordered, inOrder);
        leaveAgain(group, again);
        leave(group);
        leaveInOrder(ordered);
        write();
        System.out.println("ok  leg " + leg + ": " + expected.size() + " messages came, each once; " + left.size() + " are left");
    }

    /** Pops everything there is and acknowledges it, but for some that have failed before. */
    private List<MessageExt> comeBack(Popping group, Map<String, Integer> expected) throws Exception {
        Map<String, Integer> found = new TreeMap<>();
        List<MessageExt> kept = new ArrayList<>();
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(BACK_SECONDS_MAX);
        long quietUntil = 0;
        while (true) {
            long now = System.nanoTime();
            if (found.keySet().containsAll(expected.keySet())) {
                if (quietUntil == 0) quietUntil = now + TimeUnit.SECONDS.toNanos(leg == 1 ? 0 : QUIET_SECONDS);
                if (now >= quietUntil) break;
            } else if (now >= end) {
                break;
            }
            for (MessageExt message : group.pop(32, LONG_MILLIS)) {
                String body = text(message);
                equal(null, found.put(body, message.getReconsumeTimes()), "earlier delivery of " + body);
                check(expected.containsKey(body), "%s came (failed %d times), which was acknowledged", body, message.getReconsumeTimes());
                if (kept.size() < 3 && message.getReconsumeTimes() > 0) kept.add(message);
                else equal(AckStatus.OK, group.ack(message), "acknowledgement of " + body);
            }
            Thread.sleep(50);
        }
        for (String body : expected.keySet()) check(found.containsKey(body), "%s did not come back; %d of %d did", body, found.size(), expected.size());
        equal(expected, found, "how often each has failed");
        return kept;
    }

    /** What has come back once may fail again. */
    private void leaveAgain(Popping group, List<MessageExt> again) throws Exception {
        for (MessageExt message : again) {
            equal(AckStatus.OK, group.hide(message, LATER_MILLIS).getStatus(), "hiding " + text(message));
            left.put(text(message), message.getReconsumeTimes() + 1);
        }
    }

    private void leave(Popping group) throws Exception {
        List<String> bodies = lab.send(TOPIC, "leg " + leg + " message ", SENT);
        long queueEnd = (long) SENT / 2 * leg;
        eventually(10, "what was sent can be read", () -> lab.maxOffsets(TOPIC).values().stream().allMatch(end -> end == queueEnd));
        // Not popped at all, unless a line below says otherwise.
        for (String body : bodies) left.put(body, 0);
        for (MessageExt message : popped(group, 4, LATER_MILLIS)) left.put(text(message), 1);

        List<MessageExt> single = popped(group, 3, LATER_MILLIS);
        for (MessageExt message : single) acknowledged(message, group.ack(message));
        List<MessageExt> together = popped(group, 8, LATER_MILLIS);
        List<MessageExt> some = new ArrayList<>();
        for (int i = 0; i < together.size(); i++) {
            if (i % 2 == 0) left.put(text(together.get(i)), 1);
            else some.add(together.get(i));
        }
        AckStatus status = group.ack(some);
        for (MessageExt message : some) acknowledged(message, status);

        List<MessageExt> hidden = popped(group, 4, LATER_MILLIS);
        for (int i = 0; i < hidden.size(); i++) {
            AckResult renewed = group.hide(hidden.get(i), 2 * SHORT_MILLIS);
            equal(AckStatus.OK, renewed.getStatus(), "hiding " + text(hidden.get(i)));
            if (i % 2 == 0) left.put(text(hidden.get(i)), 1);
            else acknowledged(hidden.get(i), group.ack(hidden.get(i), renewed.getExtraInfo()));
        }
        for (MessageExt message : popped(group, 4, SHORT_MILLIS)) left.put(text(message), 1);
    }

    private void acknowledged(MessageExt message, AckStatus status) {
        equal(AckStatus.OK, status, "acknowledgement of " + text(message));
        left.remove(text(message));
    }

    private static List<MessageExt> popped(Popping group, int count, long invisibleMillis) throws Exception {
        List<MessageExt> found = group.pop(count, invisibleMillis);
        equal(count, found.size(), "messages popped");
        return found;
    }

    private void goOnInOrder(Popping group, List<String> expected) throws Exception {
        List<String> found = new ArrayList<>();
        eventually(BACK_SECONDS_MAX, "the orderly group receives " + expected, () -> {
            for (MessageExt message : inOrder(group, 32, LONG_MILLIS)) {
                found.add(text(message));
                equal(AckStatus.OK, group.ack(message), "acknowledgement of " + text(message));
            }
            return found.size() >= expected.size();
        });
        equal(expected, found, "in order");
    }

    private void leaveInOrder(Popping group) throws Exception {
        leftInOrder.addAll(lab.send(ORDERED, "leg " + leg + " in order ", SENT_IN_ORDER));
        eventually(10, "what was sent can be read", () -> lab.maxOffsets(ORDERED).get(0) == (long) SENT_IN_ORDER * leg);
        List<MessageExt> found = inOrder(group, 2, SHORT_MILLIS);
        equal(leftInOrder.subList(0, 2), Popping.bodies(found), "popped in order");
        equal(AckStatus.OK, group.ack(found.get(0)), "acknowledgement of the first");
        leftInOrder.remove(0);
    }

    private List<MessageExt> inOrder(Popping group, int count, long invisibleMillis) throws Exception {
        PopMessageRequestHeader header = group.request(0, count, invisibleMillis, 0);
        header.setOrder(true);
        header.setAttemptId("leg " + leg);
        return Popping.found(group.result(header));
    }

    private void write() throws Exception {
        List<String> lines = new ArrayList<>();
        left.forEach((body, failures) -> lines.add(failures + "\t" + body));
        for (String body : leftInOrder) lines.add("ordered\t" + body);
        Files.write(ledger, lines);
    }
}
