package interop.cases;

import static interop.Lab.*;

import interop.Case;
import interop.Dialect;
import interop.Inbox;
import interop.Lab;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** What mqadmin does with topics and groups in daily work. */
public final class AdminBasics implements Case {
    @Override
    public void run(Lab lab) throws Exception {
        DefaultMQAdminExt admin = lab.admin();
        var cluster = admin.examineBrokerClusterInfo();
        check(cluster.getClusterAddrTable().get("DefaultCluster").contains("broker-a"), "clusters are %s", cluster.getClusterAddrTable());
        String broker = cluster.getBrokerAddrTable().get("broker-a").getBrokerAddrs().get(0L);

        String topic = lab.fresh("topic");
        admin.createAndUpdateTopicConfig(broker, new TopicConfig(topic, 3, 5, 6));
        eventually(10, "the topic has a route", () -> admin.examineTopicRouteInfo(topic) != null);
        var route = admin.examineTopicRouteInfo(topic);
        equal(1, route.getQueueDatas().size(), "brokers with queues in the route");
        var queueData = route.getQueueDatas().get(0);
        equal("broker-a 3 5 6", queueData.getBrokerName() + " " + queueData.getReadQueueNums() + " " + queueData.getWriteQueueNums() + " " + queueData.getPerm(), "route");
        equal("DefaultCluster broker-a " + broker, route.getBrokerDatas().get(0).getCluster() + " " + route.getBrokerDatas().get(0).getBrokerName()
            + " " + route.getBrokerDatas().get(0).getBrokerAddrs().get(0L), "broker in the route");
        check(admin.fetchAllTopicList().getTopicList().contains(topic), "the topic is not in the list");
        TopicConfig config = admin.examineTopicConfig(broker, topic);
        equal("3 5 6", config.getReadQueueNums() + " " + config.getWriteQueueNums() + " " + config.getPerm(), "topic config");

        admin.createAndUpdateTopicConfig(broker, new TopicConfig(topic, 5, 5, 6));
        eventually(10, "the change is in the route", () -> admin.examineTopicRouteInfo(topic).getQueueDatas().get(0).getReadQueueNums() == 5);
        admin.createAndUpdateTopicConfig(broker, new TopicConfig(topic, 5, 5, 4));
        eventually(10, "a read-only topic has no queue to send to", () -> {
            try {
                return lab.queues(topic).isEmpty();
            } catch (MQClientException noQueue) {
                return true;
            }
        });
        admin.createAndUpdateTopicConfig(broker, new TopicConfig(topic, 5, 5, 6));
        eventually(10, "the topic can be written again", () -> lab.queues(topic).size() == 5);

        String group = lab.group();
        Dialect.createGroup(admin, broker, group, 7);
        equal(7, admin.examineSubscriptionGroupConfig(broker, group).getRetryMaxTimes(), "retries of the group");

        lab.send(topic, "m", 20);
        Inbox inbox = new Inbox();
        var consumer = inbox.feedFrom(lab.pushConsumer(group));
        consumer.subscribe(topic, "*");
        consumer.start();
        eventually(20, "all are delivered", () -> inbox.size() == 20);
        lab.eventuallyAllCommitted(group, topic);
        var stats = admin.examineConsumeStats(group);
        equal(0L, stats.computeTotalDiff(), "lag of the group");
        equal(5L, stats.getOffsetTable().keySet().stream().filter(q -> q.getTopic().equals(topic)).count(), "queues in the consume stats");
        var connections = admin.examineConsumerConnectionInfo(group);
        equal(1, connections.getConnectionSet().size(), "members of the group");
        check(connections.getSubscriptionTable().containsKey(topic), "subscriptions are %s", connections.getSubscriptionTable().keySet());

        var topicStats = admin.examineTopicStats(topic).getOffsetTable();
        equal(5, topicStats.size(), "queues in the topic stats");
        var second = topicStats.get(new MessageQueue(topic, "broker-a", 1));
        equal("0 4", second.getMinOffset() + " " + second.getMaxOffset(), "offsets of queue 1");
        check(Math.abs(System.currentTimeMillis() - second.getLastUpdateTimestamp()) < 60_000, "last update of queue 1 is %d", second.getLastUpdateTimestamp());

        consumer.shutdown();
        admin.deleteSubscriptionGroup(broker, group, true);
        Dialect.deleteTopic(admin, broker, "DefaultCluster", topic);
        eventually(10, "the deleted topic has left the list", () -> !admin.fetchAllTopicList().getTopicList().contains(topic));
        eventually(10, "the deleted topic has no route", () -> {
            try {
                admin.examineTopicRouteInfo(topic);
                return false;
            } catch (MQClientException gone) {
                equal(17, gone.getResponseCode(), "code for the route of a deleted topic");
                return true;
            }
        });
    }
}
