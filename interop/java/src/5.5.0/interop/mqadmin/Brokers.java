package interop.mqadmin;

import static interop.mqadmin.House.BROKER;
import static interop.mqadmin.House.CLUSTER;

import interop.Lab;
import interop.mqadmin.Mqadmin.Plan;
import java.nio.file.Files;

/** Brokers and clusters: configuration, state, cleaning, exports. */
final class Brokers {
    private Brokers() {
    }

    static void plan(Plan plan) {
        plan.check("clusterList", Brokers::clusters);
        plan.check("brokerStatus", Brokers::status);
        plan.check("getBrokerConfig", Brokers::config);
        plan.check("updateBrokerConfig", Brokers::updateConfig);
        plan.check("statsAll", house -> Console.run("statsAll", "-t", house.topic).fine()
            .matches("^" + house.topic + " +" + house.consumerGroup + " +0 +[0-9.]+ +[0-9.]+ +\\d+ +\\d+"));
        plan.check("haStatus", house -> Console.run("haStatus", "-b", house.broker).fine().matches("^#MasterAddr\\s+" + house.broker + "$")
            .matches("^#MasterCommitLogMaxOffset\\s+[1-9]\\d*$").matches("^#SlaveNum\\s+0$").matches("^#InSyncSlaveNum\\s+0$"));
        plan.check("exportMetadata", Brokers::exportMetadata);
        plan.check("exportConfigs", Brokers::exportConfigs);
        plan.check("exportMetrics", Brokers::exportMetrics);
        plan.check("getColdDataFlowCtrInfo", house -> Console.run("getColdDataFlowCtrInfo", "-b", house.broker).fine()
            .says("\"cgColdReadThreshold\"", "3145728", "\"globalColdReadThreshold\"", "\"runtimeTable\""));
        plan.check("updateColdDataFlowCtrGroupConfig", Brokers::limitColdReads);
        plan.check("removeColdDataFlowCtrGroupConfig", house -> Console.run("removeColdDataFlowCtrGroupConfig", "-b", house.broker, "-g", "nobody").fine()
            .says("remove broker cold read threshold success, " + house.broker));
        plan.check("setCommitLogReadAheadMode", house -> {
            for (String mode : new String[] {"1", "0"}) {
                Console.run("setCommitLogReadAheadMode", "-b", house.broker, "-m", mode).fine().says("set commitlog readahead mode success, mode: " + mode);
            }
        });
        plan.alone("cleanExpiredCQ", house -> Console.run("cleanExpiredCQ", "-b", house.broker).fine().says("success"));
        plan.alone("cleanUnusedTopic", house -> Console.run("cleanUnusedTopic", "-b", house.broker).fine().says("success"));
        plan.alone("deleteExpiredCommitLog", Brokers::deleteExpired);
    }

    private static void clusters(House house) {
        Console.run("clusterList").fine().matches("^" + CLUSTER + " +" + BROKER + " +0 +" + house.broker + " +V5_5_0 .* true *$");
        Console.run("clusterList", "-m").fine().matches("^" + CLUSTER + " +" + BROKER + " +0 +0 +[1-9]\\d* +[1-9]\\d*$");
    }

    private static void status(House house) {
        Console.run("brokerStatus", "-b", house.broker).fine().matches("^brokerVersionDesc +: V5_5_0$").matches("^commitLogMaxOffset +: [1-9]\\d*$")
            .matches("^msgPutTotalTodayNow +: [1-9]\\d*$").matches("^runtime +: \\[ 0 days, ").matches("^commitLogDiskRatio +: 0\\.\\d+$");
        Console.run("brokerStatus", "-c", CLUSTER).fine().matches("^" + house.broker + " +brokerActive +: true$");
    }

    private static void config(House house) {
        Console.run("getBrokerConfig", "-b", house.broker).fine().says("============" + house.broker + "============")
            .matches("^brokerName +=  " + BROKER + "$").matches("^brokerClusterName +=  " + CLUSTER + "$").matches("^flushDiskType +=  ASYNC_FLUSH$");
        Console.run("getBrokerConfig", "-c", CLUSTER).fine().matches("^enablePropertyFilter +=  true$");
    }

    private static void updateConfig(House house) {
        Console.run("updateBrokerConfig", "-b", house.broker, "-k", "defaultQueryMaxNum", "-v", "33").fine().says("update broker config success, " + house.broker);
        Console.run("getBrokerConfig", "-b", house.broker).fine().matches("^defaultQueryMaxNum +=  33$");
        Console.run("updateBrokerConfig", "-b", house.broker, "-k", "defaultQueryMaxNum", "-v", "x").says("CODE: 1", "defaultQueryMaxNum = \"x\" is not accepted");
        Console.run("updateBrokerConfig", "-b", house.broker, "-k", "brokerConfigPath", "-v", "/tmp/x").says("CODE: ", "brokerConfigPath");
    }

    private static void limitColdReads(House house) {
        Console.run("updateColdDataFlowCtrGroupConfig", "-c", CLUSTER, "-g", house.consumerGroup, "-v", "12345").fine()
            .says("updateColdDataFlowCtrGroupConfig success, " + house.broker);
        Console.run("getColdDataFlowCtrInfo", "-c", CLUSTER).fine().matches("\"" + house.consumerGroup + "\": ?12345");
        Console.run("updateColdDataFlowCtrGroupConfig", "-b", house.broker, "-g", house.consumerGroup, "-v", "much").says("CODE: 1", "no number of bytes");
        Console.run("removeColdDataFlowCtrGroupConfig", "-b", house.broker, "-g", house.consumerGroup).fine().says("success");
        Console.run("getColdDataFlowCtrInfo", "-b", house.broker).fine().lacks("12345");
    }

    private static void deleteExpired(House house) throws Exception {
        Console.run("deleteExpiredCommitLog", "-b", house.broker).fine().says("success");
        // Nothing is that old.
        Lab.equal(House.MESSAGES, house.lab.stored(house.topic).size(), "messages that are still there");
    }

    private static void exportMetadata(House house) throws Exception {
        Console.run("exportMetadata", "-c", CLUSTER, "-f", house.directory).fine().says("metadata.json success");
        exported(house, "metadata.json", house.topic, house.consumerGroup);
        Console.run("exportMetadata", "-b", house.broker, "-t", "-f", house.directory).fine().says("topic.json success");
        exported(house, "topic.json", house.topic);
        Console.run("exportMetadata", "-b", house.broker, "-g", "-f", house.directory).fine().says("subscriptionGroup.json success");
        exported(house, "subscriptionGroup.json", house.consumerGroup);
    }

    private static void exportConfigs(House house) throws Exception {
        Console.run("exportConfigs", "-c", CLUSTER, "-f", house.directory).fine().says("configs.json success");
        exported(house, "configs.json", BROKER, "clusterScale");
    }

    private static void exportMetrics(House house) throws Exception {
        Console.run("exportMetrics", "-c", CLUSTER, "-f", house.directory).fine().says("metrics.json success");
        exported(house, "metrics.json", BROKER, "runtimeQuota", "totalData");
    }

    private static void exported(House house, String name, String... parts) throws Exception {
        String text = Files.readString(house.directory.resolve(name));
        for (String part : parts) Lab.check(text.contains(part), "%s does not name %s: %s", name, part, text.substring(0, Math.min(1000, text.length())));
    }
}
