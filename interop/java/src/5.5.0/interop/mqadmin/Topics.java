package interop.mqadmin;

import static interop.mqadmin.House.BROKER;
import static interop.mqadmin.House.CLUSTER;

import interop.Lab;
import interop.mqadmin.Mqadmin.Plan;
import java.nio.file.Path;

/** Topics, routes and the nameserver's tables. */
final class Topics {
    private Topics() {
    }

    static void plan(Plan plan) {
        plan.check("updateTopic", Topics::updateTopic);
        plan.check("updateTopicList", Topics::updateTopicList);
        plan.check("deleteTopic", Topics::deleteTopic);
        plan.check("updateTopicPerm", Topics::updateTopicPerm);
        plan.check("topicRoute", Topics::topicRoute);
        plan.check("topicStatus", house -> Console.run("topicStatus", "-t", house.topic).fine().rows(4, BROKER)
            .matches("^" + BROKER + " +0 +0 +10 +20\\d\\d-").says("Topic Put TPS: "));
        plan.check("topicClusterList", house -> Console.run("topicClusterList", "-t", house.topic).fine().matches("^" + CLUSTER + "$"));
        plan.check("topicList", house -> Console.run("topicList").fine().matches("^" + house.topic + "$")
            .says("%RETRY%" + house.consumerGroup, "TBW102", "SELF_TEST_TOPIC", "SCHEDULE_TOPIC_XXXX"));
        plan.check("topicList", house -> Console.run("topicList", "-c").fine()
            .matches("^" + CLUSTER + " +" + house.topic + " +" + house.consumerGroup));
        plan.check("allocateMQ", Topics::allocate);
        plan.check("updateStaticTopic", Topics::updateStatic);
        plan.check("remappingStaticTopic", Topics::remapStatic);
        plan.check("updateOrderConf", Topics::orderConf);
        plan.check("updateKvConfig", Topics::putValue);
        plan.check("deleteKvConfig", Topics::deleteValue);
        plan.check("getNamesrvConfig", house -> Console.run("getNamesrvConfig").fine().matches("^listenPort +=  \\d+$")
            .matches("^deleteTopicWithBrokerRegistration +=  false$"));
        plan.check("updateNamesrvConfig", Topics::updateNameserver);
        plan.alone("wipeWritePerm", Topics::wipeWritePerm);
        plan.alone("addWritePerm", Topics::addWritePerm);
    }

    private static void updateTopic(House house) throws Exception {
        String topic = house.lab.fresh("topic");
        Console.run("updateTopic", "-c", CLUSTER, "-t", topic, "-r", 6, "-w", 5, "-p", 6, "-a", "+message.type=NORMAL").fine()
            .says("create topic to " + house.broker + " success.");
        Console.run("topicRoute", "-t", topic).fine().says("\"perm\":6", "\"readQueueNums\":6", "\"writeQueueNums\":5");
        Console.run("updateTopic", "-b", house.broker, "-t", topic, "-r", 3, "-w", 3, "-p", 4).fine().says("success.");
        Console.run("topicRoute", "-t", topic).fine().says("\"perm\":4", "\"readQueueNums\":3", "\"writeQueueNums\":3");
        Console.run("updateTopic", "-c", CLUSTER, "-t", "bad/topic").says("CODE: 29", "bad/topic", "illegal characters");
        Console.run("updateTopic", "-c", CLUSTER, "-t", house.lab.fresh("topic"), "-a", "+message.type=NONSENSE").says("CODE: ", "NONSENSE");
    }

    private static void updateTopicList(House house) throws Exception {
        String topic = house.lab.fresh("topic");
        Path file = house.file("topics.json", "[{\"topicName\":\"" + topic + "\",\"readQueueNums\":2,\"writeQueueNums\":3,\"perm\":6}]");
        // The tool prints its usage behind its success.
        Console.run("updateTopicList", "-c", CLUSTER, "-f", file).lacks("Exception")
            .says("submit batch of topic config to " + house.broker + " success");
        Console.run("topicRoute", "-t", topic).fine().says("\"readQueueNums\":2", "\"writeQueueNums\":3");
    }

    private static void deleteTopic(House house) throws Exception {
        String topic = house.ownTopic();
        Console.run("deleteTopic", "-t", topic, "-c", CLUSTER).fine()
            .says("delete topic [" + topic + "] from cluster [" + CLUSTER + "] success.", "delete topic [" + topic + "] from NameServer success.");
        Console.run("topicRoute", "-t", topic).says("CODE: 17", topic);
        Console.run("topicStatus", "-t", topic).says("CODE: 17");
    }

    private static void updateTopicPerm(House house) throws Exception {
        String topic = house.ownTopic();
        Console.run("updateTopicPerm", "-b", house.broker, "-t", topic, "-p", 4).fine().says("update topic perm from 6 to 4 in " + house.broker + " success.");
        Console.run("sendMessage", "-t", topic, "-p", "not allowed").lacks("SEND_OK").says(topic);
        Console.run("updateTopicPerm", "-c", CLUSTER, "-t", topic, "-p", 6).fine().says("update topic perm from 4 to 6 in " + house.broker + " success.");
        Console.run("sendMessage", "-t", topic, "-p", "allowed").fine().says("SEND_OK");
    }

    private static void topicRoute(House house) {
        Console.run("topicRoute", "-t", house.topic).fine()
            .says("0:\"" + house.broker + "\"", "\"brokerName\":\"" + BROKER + "\"", "\"cluster\":\"" + CLUSTER + "\"", "\"readQueueNums\":4");
        Console.run("topicRoute", "-t", house.topic, "-l").fine().matches(CLUSTER + ".*" + BROKER + ".*4");
    }

    private static void allocate(House house) {
        Console.run("allocateMQ", "-t", house.topic, "-i", "10.0.0.1,10.0.0.2").fine().says("\"10.0.0.1\":[", "\"10.0.0.2\":[")
            .says("\"queueId\":0", "\"queueId\":1", "\"queueId\":2", "\"queueId\":3");
    }

    /** Moves between brokers are in {@link StaticTopicMoves}; here is one broker. */
    private static void updateStatic(House house) {
        String topic = house.lab.fresh("static");
        for (int queues : new int[] {2, 3}) {
            Console.run("updateStaticTopic", "-b", BROKER, "-t", topic, "-qn", queues).fine().says("The new mapping data is written to file");
            Console.run("topicRoute", "-t", topic).fine().says("\"topicQueueMappingByBroker\":{", "\"totalQueues\":" + queues);
        }
        Console.run("sendMessage", "-t", topic, "-p", "to a logical queue").fine().says("SEND_OK");
        // The tool sees by itself that there are as many already, and that an ordinary topic has no mapping.
        Console.run("updateStaticTopic", "-b", BROKER, "-t", topic, "-qn", 3).says("Exception", "equal the existed queue num");
        Console.run("updateStaticTopic", "-b", BROKER, "-t", house.topic, "-qn", 3).says("Exception", "Mapping info should not be null");
    }

    private static void remapStatic(House house) {
        String topic = house.lab.fresh("static");
        Console.run("updateStaticTopic", "-c", CLUSTER, "-t", topic, "-qn", 2).fine();
        Console.run("remappingStaticTopic", "-c", CLUSTER, "-t", topic).fine();
        Console.run("topicRoute", "-t", topic).fine().says("\"totalQueues\":2");
        Console.run("remappingStaticTopic", "-c", CLUSTER, "-t", house.topic).says("Exception", "Mapping info should not be null");
    }

    private static void orderConf(House house) throws Exception {
        String topic = house.newTopic(4);
        Console.run("updateOrderConf", "-t", topic, "-m", "put", "-v", BROKER + ":4").fine().says("update orderConf success. topic=[" + topic + "]");
        Console.run("updateOrderConf", "-t", topic, "-m", "get").fine().says("orderConf=[" + BROKER + ":4]");
        Console.run("updateOrderConf", "-t", topic, "-m", "delete").fine().says("delete orderConf success.");
        Console.run("updateOrderConf", "-t", topic, "-m", "get").says("CODE: ").lacks("orderConf=[" + BROKER);
    }

    private static void putValue(House house) throws Exception {
        Console.run("updateKvConfig", "-s", "INTEROP", "-k", "color", "-v", "green").fine().says("create or update kv config to namespace success.");
        Lab.equal("green", house.lab.admin().getKVConfig("INTEROP", "color"), "the value");
    }

    private static void deleteValue(House house) throws Exception {
        house.lab.admin().createAndUpdateKvConfig("INTEROP", "shape", "round");
        Console.run("deleteKvConfig", "-s", "INTEROP", "-k", "shape").fine().says("delete kv config from namespace success.");
        Lab.check(!house.lab.admin().getKVListByNamespace("INTEROP").getTable().containsKey("shape"), "the value is still there");
    }

    private static void updateNameserver(House house) {
        Console.run("updateNamesrvConfig", "-k", "scanNotActiveBrokerInterval", "-v", "4500").fine()
            .says("update name server config success!", "scanNotActiveBrokerInterval : 4500");
        Console.run("getNamesrvConfig").fine().matches("^scanNotActiveBrokerInterval +=  4500$");
        Console.run("updateNamesrvConfig", "-k", "kvConfigPath", "-v", "/tmp/x").says("CODE: ", "kvConfigPath");
    }

    private static void wipeWritePerm(House house) {
        Console.run("wipeWritePerm", "-b", BROKER).fine().matches("wipe write perm of broker\\[" + BROKER + "\\] in name server\\[.*\\] OK, [1-9]");
        Console.run("topicRoute", "-t", house.topic).fine().says("\"perm\":4");
    }

    private static void addWritePerm(House house) {
        Console.run("addWritePerm", "-b", BROKER).fine().matches("add write perm of broker\\[" + BROKER + "\\] in name server\\[.*\\] OK, [1-9]");
        Console.run("topicRoute", "-t", house.topic).fine().says("\"perm\":6");
    }
}
