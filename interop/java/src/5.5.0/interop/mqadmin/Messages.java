package interop.mqadmin;

import static interop.mqadmin.House.BROKER;
import static interop.mqadmin.House.CLUSTER;

import interop.Lab;
import interop.mqadmin.Mqadmin.Plan;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;

/** Looking for messages, sending and printing them. */
final class Messages {
    /** The message that is looked for: `body 7`, tag `odd`, second of its queue. */
    private static final int WANTED = 7;

    private Messages() {
    }

    static void plan(Plan plan) {
        plan.check("queryMsgById", house -> found(house, Console.run("queryMsgById", "-t", house.topic, "-i", wanted(house).getOffsetMsgId())));
        plan.check("queryMsgByUniqueKey", house -> found(house, Console.run("queryMsgByUniqueKey", "-t", house.topic, "-i", wanted(house).getMsgId())));
        plan.check("queryMsgByOffset", Messages::byOffset);
        plan.check("queryMsgByKey", Messages::byKey);
        plan.check("queryMsgTraceById", Messages::trace);
        plan.check("printMsg", Messages::print);
        plan.check("printMsgByQueue", Messages::printQueue);
        plan.check("queryCq", Messages::queue);
        plan.check("sendMessage", Messages::send);
        plan.check("consumeMessage", Messages::consume);
        plan.check("sendMsgStatus", house -> Console.run("sendMsgStatus", "-b", BROKER, "-s", 64, "-c", 3).fine().rows(3, "rt=").says("sendStatus=SEND_OK"));
        plan.check("checkMsgSendRT", house -> Console.run("checkMsgSendRT", "-t", house.ownTopic(), "-a", 5, "-s", 64).fine()
            .rows(5, BROKER).says("true", "Avg RT: ").lacks("false"));
        plan.check("clusterRT", house -> Console.runFor(3, "clusterRT", "-c", CLUSTER, "-a", 2, "-s", 16, "-i", 1)
            .matches("^" + CLUSTER + " +" + BROKER + " +[0-9.]+ +2 +0 *$"));
    }

    private static SendResult wanted(House house) {
        return house.sent.get(WANTED);
    }

    private static void found(House house, Console.Printed printed) {
        printed.fine().matches("^Topic: +" + house.topic + "$").says("Tags:                [odd]", "Keys:                [key7]")
            .matches("^Queue ID: +" + wanted(house).getMessageQueue().getQueueId() + "$").matches("^Queue Offset: +1$")
            .says("UNIQ_KEY=" + wanted(house).getMsgId(), "consumerGroup=" + house.consumerGroup + ", trackType=CONSUMED");
    }

    private static void byOffset(House house) {
        SendResult sent = wanted(house);
        int queue = sent.getMessageQueue().getQueueId();
        found(house, Console.run("queryMsgByOffset", "-t", house.topic, "-b", BROKER, "-i", queue, "-o", sent.getQueueOffset()));
    }

    private static void byKey(House house) {
        Console.run("queryMsgByKey", "-t", house.topic, "-k", "key7").fine().rows(1, wanted(house).getMsgId());
        Console.run("queryMsgByKey", "-t", house.topic, "-k", "nobody's").says("CODE: 208", "no message");
    }

    /** The trace of a message that nobody has traced, and of one that its producer and its consumer have. */
    private static void trace(House house) throws Exception {
        Console.run("queryMsgTraceById", "-i", wanted(house).getMsgId(), "-t", house.topic).says("CODE: 208", "no message");
        Traced traced = new Traced(house.lab);
        traced.isShown(id -> Console.run("queryMsgTraceById", "-i", id).fine());
        String sent = Console.run("sendMessage", "-t", traced.topic, "-p", "by the tool", "-m", "true").fine().says("SEND_OK").text;
        String id = sent.lines().filter(row -> row.contains("SEND_OK")).findFirst().orElseThrow().trim().replaceAll(".* ", "");
        Lab.eventually(20, "the tool's own send is found", () -> {
            Console.run("queryMsgTraceById", "-i", id).fine().matches("^Pub .* success *$");
            return true;
        });
    }

    private static void print(House house) {
        Console.run("printMsg", "-t", house.topic, "-d", "true", "-s", "odd").fine().rows(House.MESSAGES / 2, "MSGID: ")
            .says(wanted(house).getMsgId(), "BODY: body 7", "TAGS=odd").lacks("TAGS=even");
    }

    private static void printQueue(House house) {
        Console.run("printMsgByQueue", "-t", house.topic, "-a", BROKER, "-i", 1, "-p", "true", "-d", "true", "-f", "true").fine()
            .rows(10, "MSGID: ").matches("Tag: odd +Count: 10");
    }

    private static void queue(House house) {
        Console.run("queryCq", "-t", house.topic, "-q", 1, "-i", 0, "-c", 3, "-b", house.broker, "-g", house.consumerGroup).fine()
            .rows(3, "ConsumeQueueData{").says("max: 10, min: 0", "\"subString\":\"*\"", "tagsCode=" + "odd".hashCode(), "eval=true");
    }

    private static void send(House house) throws Exception {
        String topic = house.lab.topic(2);
        Console.run("sendMessage", "-t", topic, "-p", "from the tool", "-k", "tool-key", "-c", "tool", "-b", BROKER, "-i", 1).fine()
            .matches("^" + BROKER + " +1 +SEND_OK +[0-9A-F]{32,}");
        Message stored = house.lab.stored(topic).get(0);
        Lab.equal("from the tool", Lab.text(stored), "body");
        Lab.equal("tool tool-key", stored.getTags() + " " + stored.getKeys(), "tag and key");
    }

    private static void consume(House house) {
        Console.run("consumeMessage", "-t", house.topic, "-b", BROKER, "-i", 1, "-o", 2, "-c", 3).fine().says("Consume ok")
            .rows(3, "MSGID: ").says("queueOffset=2,", "queueOffset=4,").lacks("queueOffset=1,", "queueOffset=5,");
    }
}
