import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Random;

import org.apache.rocketmq.client.consumer.AllocateMessageQueueStrategy;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMachineRoomNearby;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueAveragely;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueAveragelyByCircle;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueByMachineRoom;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueConsistentHash;
import org.apache.rocketmq.common.message.MessageQueue;

/** What the official client gives to each member of random groups: strategy, member, queues, members, result. */
public class AllocationVectors {
    public static void main(String[] arguments) {
        Random random = new Random(Long.parseLong(arguments[0]));
        int groups = Integer.parseInt(arguments[1]);
        AllocateMessageQueueByMachineRoom rooms = new AllocateMessageQueueByMachineRoom();
        rooms.setConsumeridcs(new HashSet<>(Arrays.asList("r1", "r2")));
        List<AllocateMessageQueueStrategy> strategies = Arrays.asList(
            new AllocateMessageQueueAveragely(), new AllocateMessageQueueAveragelyByCircle(),
            new AllocateMessageQueueConsistentHash(), rooms,
            new AllocateMachineRoomNearby(new AllocateMessageQueueAveragely(), new Rooms()),
            new AllocateMachineRoomNearby(new AllocateMessageQueueAveragelyByCircle(), new Rooms()));
        System.out.println("# strategy, member, queues (broker:id), members, its queues; AllocationVectors.java of interop/allocation");
        for (int group = 0; group < groups; group++) {
            List<String> members = members(random);
            for (AllocateMessageQueueStrategy strategy : strategies) {
                List<MessageQueue> queues = queues(random, strategy.getName().startsWith("MACHINE_ROOM"));
                for (String member : members) {
                    List<MessageQueue> result = strategy.allocate("G", member, queues, members);
                    System.out.println(String.join("\t", strategy.getName(), member, text(queues), String.join(",", members), text(result)));
                }
            }
        }
    }

    /** Of a broker what stands before the {@code @}; of a member one of r1 to r4 by the sum of its characters. */
    static class Rooms implements AllocateMachineRoomNearby.MachineRoomResolver {
        @Override
        public String brokerDeployIn(MessageQueue queue) {
            return queue.getBrokerName().split("@")[0];
        }

        @Override
        public String consumerDeployIn(String client) {
            return "r" + (1 + client.chars().sum() % 4);
        }
    }

    static List<String> members(Random random) {
        List<String> members = new ArrayList<>();
        int count = 1 + random.nextInt(6);
        for (int i = 0; i < count; i++) {
            members.add("10.0." + random.nextInt(256) + "." + random.nextInt(256) + "@" + random.nextInt(70000));
        }
        Collections.sort(members);
        return members;
    }

    static List<MessageQueue> queues(Random random, boolean inRooms) {
        String[] brokers = inRooms ? new String[] {"r1@a", "r2@b", "r3@c", "plain"} : new String[] {"broker-a", "broker-b", "broker-c"};
        List<MessageQueue> queues = new ArrayList<>();
        for (String broker : brokers) {
            int count = random.nextInt(9);
            for (int id = 0; id < count; id++) {
                queues.add(new MessageQueue("T", broker, id));
            }
        }
        // The strategies refuse an empty list.
        if (queues.isEmpty()) {
            queues.add(new MessageQueue("T", brokers[0], 0));
        }
        Collections.sort(queues);
        return queues;
    }

    static String text(List<MessageQueue> queues) {
        List<String> parts = new ArrayList<>();
        for (MessageQueue queue : queues) {
            parts.add(queue.getBrokerName() + ":" + queue.getQueueId());
        }
        return String.join(",", parts);
    }
}
