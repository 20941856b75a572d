package interop.mqadmin;

import static interop.mqadmin.House.CLUSTER;

import interop.Lab;
import interop.mqadmin.Mqadmin.Plan;
import java.nio.file.Path;

/** Consumer groups, their offsets and who is connected. */
final class Groups {
    private Groups() {
    }

    static void plan(Plan plan) {
        plan.check("updateSubGroup", Groups::updateSubGroup);
        plan.check("updateSubGroupList", Groups::updateSubGroupList);
        plan.check("deleteSubGroup", Groups::deleteSubGroup);
        plan.check("getConsumerConfig", Groups::config);
        plan.check("consumerConnection", Groups::consumers);
        plan.check("producerConnection", Groups::producers);
        plan.check("producer", house -> Console.run("producer", "-b", house.broker).fine()
            .says("producer group (" + house.producerGroup + ") instance : clientId=" + house.producer.buildMQClientId(), "language=JAVA"));
        plan.check("consumerProgress", Groups::progress);
        plan.check("consumerStatus", Groups::status);
        plan.check("brokerConsumeStats", house -> Console.run("brokerConsumeStats", "-b", house.broker, "-o", "false").fine()
            .matches("^" + house.topic + " +" + house.consumerGroup + " +" + House.BROKER + " +0 +10 +10 +0 ").says("Diff Total: "));
        plan.check("cloneGroupOffset", Groups::cloneOffsets);
        plan.check("resetOffsetByTime", Groups::resetOffsets);
        plan.check("skipAccumulatedMessage", Groups::skip);
        plan.check("setConsumeMode", house -> Console.run("setConsumeMode", "-c", CLUSTER, "-t", house.topic, "-g", house.consumerGroup, "-m", "PULL", "-q", 0)
            .fine()
            .says("consume mode[PULL]", "success"));
    }

    private static void updateSubGroup(House house) {
        String group = house.lab.group();
        Console.run("updateSubGroup", "-c", CLUSTER, "-g", group, "-r", 7, "-q", 2).fine().says("create subscription group to " + house.broker + " success.");
        Console.run("getConsumerConfig", "-g", group).fine().matches("^retryMaxTimes +=  7$").matches("^retryQueueNums +=  2$")
            .matches("^consumeBroadcastEnable +=  false$");
        Console.run("updateSubGroup", "-b", house.broker, "-g", group, "-s", "false", "-d", "true").fine().says("success.");
        Console.run("getConsumerConfig", "-g", group).fine().matches("^consumeEnable +=  false$").matches("^consumeBroadcastEnable +=  true$");
    }

    private static void updateSubGroupList(House house) throws Exception {
        String group = house.lab.group();
        Path file = house.file("groups.json", "[{\"groupName\":\"" + group + "\",\"retryMaxTimes\":5}]");
        // The tool prints its usage behind its success.
        Console.run("updateSubGroupList", "-c", CLUSTER, "-f", file).lacks("Exception")
            .says("submit batch of subscription group config to " + house.broker + " success");
        Console.run("getConsumerConfig", "-g", group).fine().matches("^groupName +=  " + group + "$").matches("^retryMaxTimes +=  5$");
    }

    private static void deleteSubGroup(House house) throws Exception {
        String group = house.departedGroup(house.topic);
        Console.run("deleteSubGroup", "-c", CLUSTER, "-g", group, "-r", "true").fine()
            .says("delete subscription group [" + group + "] from broker [" + house.broker + "] in cluster [" + CLUSTER + "] success.");
        Console.run("getConsumerConfig", "-g", group).lacks("groupName");
        Lab.check(!house.lab.admin().queryTopicConsumeByWho(house.topic).getGroupList().contains(group), "its offsets are still there");
    }

    private static void config(House house) {
        Console.run("getConsumerConfig", "-g", house.consumerGroup).fine()
            .says("=" + CLUSTER + ":" + House.BROKER + "=").matches("^groupName +=  " + house.consumerGroup + "$").matches("^retryMaxTimes +=  16$");
    }

    private static void consumers(House house) {
        Console.run("consumerConnection", "-g", house.consumerGroup).fine()
            .matches("^" + house.consumer.buildMQClientId() + " +127.0.0.1:\\d+ +JAVA +V5_5_0").matches("^" + house.topic + " +\\*$")
            .says("ConsumeType: CONSUME_PASSIVELY", "MessageModel: CLUSTERING", "ConsumeFromWhere: CONSUME_FROM_FIRST_OFFSET");
        Console.run("consumerConnection", "-g", house.lab.group()).says("CODE: 17", "%RETRY%");
    }

    private static void producers(House house) {
        Console.run("producerConnection", "-g", house.producerGroup, "-t", house.topic).fine()
            .matches("^0001 +" + house.producer.buildMQClientId() + " +127.0.0.1:\\d+ +JAVA +V5_5_0");
        Console.run("producerConnection", "-g", house.lab.group(), "-t", house.topic).says("CODE: ", "not exist");
    }

    private static void progress(House house) {
        Console.run("consumerProgress", "-g", house.consumerGroup, "-s", "true").fine().rows(4, house.topic)
            .matches("^" + house.topic + " +" + House.BROKER + " +0 +10 +10 +\\S+ +0 +0 ").says("Consume TPS: ", "Consume Diff Total: 0");
        Console.run("consumerProgress").fine().matches("^" + house.consumerGroup + " +1 +V5_5_0 +PUSH +CLUSTERING +\\d+ +0$");
    }

    private static void status(House house) {
        String client = house.consumer.buildMQClientId();
        Console.run("consumerStatus", "-g", house.consumerGroup).fine().matches("^1 +" + client + " +V5_5_0")
            .says("Same subscription in the same group of consumer", "Rebalance OK");
        Console.run("consumerStatus", "-g", house.consumerGroup, "-i", client, "-s").lacks("usage: mqadmin")
            .says("#Consumer Offset#", "PROP_CLIENT_VERSION                     : V5_5_0", "#Consumer jstack#")
            .matches("^" + house.topic + " +" + House.BROKER + " +3 +10 *$").matches("Topic: " + house.topic + " .*SubExpression: \\*");
    }

    private static void cloneOffsets(House house) throws Exception {
        String topic = house.ownTopic();
        String source = house.departedGroup(topic);
        String copy = house.departedGroup(house.topic);
        Console.run("cloneGroupOffset", "-s", source, "-d", copy, "-t", topic, "-o", "true").fine().says("clone group offset success. srcGroup[" + source + "]");
        Lab.equal(house.lab.committed(source, topic), house.lab.committed(copy, topic), "cloned offsets");
    }

    private static void resetOffsets(House house) throws Exception {
        String topic = house.ownTopic();
        String group = house.departedGroup(topic);
        Console.run("resetOffsetByTime", "-g", group, "-t", topic, "-s", "0").fine().matches("^" + House.BROKER + " +0 +0 *$").matches("^" + House.BROKER + " +1 +0 *$");
        Console.run("consumerProgress", "-g", group).fine().matches("^" + topic + " +" + House.BROKER + " +1 +10 +0 +10 ").says("Consume Diff Total: 20");
        Console.run("resetOffsetByTime", "-g", group, "-t", topic, "-s", "-1", "-b", house.broker, "-q", 1, "-o", 3).fine().says("reset consumer offset to 3");
        Console.run("consumerProgress", "-g", group).fine().matches("^" + topic + " +" + House.BROKER + " +1 +10 +3 +7 ").says("Consume Diff Total: 17");
        Console.run("resetOffsetByTime", "-g", group, "-t", topic, "-s", "now").fine();
        Console.run("consumerProgress", "-g", group).fine().says("Consume Diff Total: 0");
    }

    private static void skip(House house) throws Exception {
        String topic = house.ownTopic();
        String group = house.departedGroup(topic);
        Console.run("consumerProgress", "-g", group).fine().says("Consume Diff Total: 10");
        Console.run("skipAccumulatedMessage", "-g", group, "-t", topic).fine().matches("^" + House.BROKER + " +0 +10 *$");
        Console.run("consumerProgress", "-g", group).fine().says("Consume Diff Total: 0");
    }
}
