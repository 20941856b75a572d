import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.TreeSet;

import org.apache.rocketmq.client.AccessChannel;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.trace.TraceBean;
import org.apache.rocketmq.client.trace.TraceContext;
import org.apache.rocketmq.client.trace.TraceDataEncoder;
import org.apache.rocketmq.client.trace.TraceTransferBean;
import org.apache.rocketmq.client.trace.TraceType;
import org.apache.rocketmq.common.message.MessageType;

/** How the official client writes random records of traces; a value that is not there is a dash. */
public class TraceVectors {
    static Random random;

    public static void main(String[] arguments) {
        random = new Random(Long.parseLong(arguments[0]));
        System.out.println("# kind, what is recorded, keys of the record, the record with \\1 and \\2 for the separators; TraceVectors.java of interop/trace");
        for (int line = 0; line < Integer.parseInt(arguments[1]); line++) {
            sent();
            consumed(TraceType.SubBefore);
            consumed(TraceType.SubAfter);
            ended();
        }
    }

    static void sent() {
        TraceContext context = context(TraceType.Pub);
        TraceBean bean = bean(context);
        bean.setBodyLength(1 + random.nextInt(5000));
        context.setCostTime(random.nextInt(3000));
        bean.setOffsetMsgId(text("7F000001000078BF", 0));
        context.setSuccess(random.nextBoolean());
        bean.setMsgType(MessageType.values()[new int[] {0, 1, 3}[random.nextInt(3)]]);
        print(context, context.getRegionId(), context.getGroupName(), bean.getTopic(), bean.getMsgId(), bean.getTags(), bean.getKeys(),
            bean.getStoreHost(), bean.getBodyLength(), context.getCostTime(), bean.getOffsetMsgId(), context.isSuccess(), bean.getMsgType().ordinal());
    }

    static void consumed(TraceType type) {
        TraceContext context = context(type);
        TraceBean bean = bean(context);
        context.setAccessChannel(AccessChannel.LOCAL);
        context.setRequestId(text("AC110001", 0));
        bean.setRetryTimes(random.nextInt(4));
        context.setCostTime(random.nextInt(3000));
        context.setContextCode(type == TraceType.SubBefore ? 0 : new int[] {0, 2, 4}[random.nextInt(3)]);
        context.setSuccess(context.getContextCode() == 0);
        print(context, context.getRegionId(), context.getGroupName(), bean.getTopic(), context.getRequestId(), bean.getMsgId(), bean.getRetryTimes(),
            bean.getKeys(), context.getCostTime(), context.getContextCode());
    }

    static void ended() {
        TraceContext context = context(TraceType.EndTransaction);
        TraceBean bean = bean(context);
        context.setRegionId("DefaultRegion");
        bean.setMsgType(MessageType.Trans_msg_Commit);
        bean.setTransactionId(text("TX", 0));
        bean.setTransactionState(LocalTransactionState.values()[random.nextInt(3)]);
        bean.setFromTransactionCheck(random.nextBoolean());
        print(context, context.getRegionId(), context.getGroupName(), bean.getTopic(), bean.getMsgId(), bean.getTags(), bean.getKeys(),
            bean.getStoreHost(), bean.getTransactionId(), bean.getTransactionState(), bean.isFromTransactionCheck());
    }

    static TraceContext context(TraceType type) {
        TraceContext context = new TraceContext();
        context.setTraceType(type);
        context.setTimeStamp(1_700_000_000_000L + random.nextInt());
        context.setRegionId(text("region", 0));
        context.setGroupName(text("group", 0));
        context.setTraceBeans(new ArrayList<>());
        return context;
    }

    static TraceBean bean(TraceContext context) {
        TraceBean bean = new TraceBean();
        bean.setTopic(text("topic", 0));
        bean.setMsgId(text("0A000002", 0));
        bean.setTags(text("tag", 3));
        String[] keys = {null, "k" + random.nextInt(100), "one two", "ü 主题 one"};
        bean.setKeys(keys[random.nextInt(keys.length)]);
        bean.setStoreHost("127.0.0.1:" + (1000 + random.nextInt(60000)));
        context.getTraceBeans().add(bean);
        return bean;
    }

    /** A word, or once in so many times none. */
    static String text(String word, int noneIn) {
        return noneIn > 0 && random.nextInt(noneIn) == 0 ? null : word + random.nextInt(1000);
    }

    static void print(TraceContext context, Object... inputs) {
        TraceTransferBean made = TraceDataEncoder.encoderFromContextBean(context);
        List<String> columns = new ArrayList<>(Arrays.asList(context.getTraceType().name()));
        for (Object input : inputs) {
            columns.add(input == null ? "-" : input.toString());
        }
        columns.add(String.join(" ", new TreeSet<>(made.getTransKey())));
        columns.add(made.getTransData().replace("\u0001", "\\1").replace("\u0002", "\\2"));
        System.out.println(String.join("\t", columns));
    }
}
