import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;

import org.apache.rocketmq.acl.common.AclClientRPCHook;
import org.apache.rocketmq.acl.common.SessionCredentials;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;

/** How the official client signs random requests. Texts and bodies are in hexadecimal digits. */
public class SignatureVectors {
    static final String[] PIECES = {"a", "B", "c", "9", "-", "%RETRY%", " ", "ü", "主题", "😀", "\u0001", "\u0002", "true", "0"};

    public static void main(String[] arguments) {
        Random random = new Random(Long.parseLong(arguments[0]));
        System.out.println("# access key, secret key, security token, fields (name=value), body, signature; SignatureVectors.java of interop/acl");
        for (int line = 0; line < Integer.parseInt(arguments[1]); line++) {
            SessionCredentials credentials = new SessionCredentials(text(random, 1), text(random, 1));
            if (random.nextInt(3) == 0) {
                credentials.setSecurityToken(text(random, 1));
            }
            RemotingCommand request = RemotingCommand.createRequestCommand(310, null);
            Map<String, String> fields = new LinkedHashMap<>();
            for (int field = random.nextInt(14); field > 0; field--) {
                fields.put(name(random), text(random, 0));
            }
            // A request without fields has no table to sort.
            fields.put("a", "producer");
            fields.forEach(request::addExtField);
            byte[] body = new byte[random.nextInt(4) == 0 ? 0 : random.nextInt(60)];
            random.nextBytes(body);
            if (body.length > 0) {
                request.setBody(body);
            }
            new AclClientRPCHook(credentials).doBeforeRequest("", request);
            List<String> pairs = new ArrayList<>();
            fields.forEach((name, value) -> pairs.add(hex(name) + "=" + hex(value)));
            String token = credentials.getSecurityToken() == null ? "-" : hex(credentials.getSecurityToken());
            System.out.println(String.join("\t", hex(credentials.getAccessKey()), hex(credentials.getSecretKey()), token,
                String.join(",", pairs), hex(body), request.getExtFields().get("Signature")));
        }
    }

    static String name(Random random) {
        String[] names = {"a", "b", "e", "i", "n", "nsd", "ns", "topic", "queueId", "AccessLike", "Zone", "_under", "Signatures", "bname", "0", "SecurityTokenX"};
        return names[random.nextInt(names.length)];
    }

    static String text(Random random, int least) {
        StringBuilder text = new StringBuilder();
        for (int piece = least + random.nextInt(9); piece > 0; piece--) {
            text.append(PIECES[random.nextInt(PIECES.length)]);
        }
        return text.toString();
    }

    static String hex(String text) {
        return hex(text.getBytes(StandardCharsets.UTF_8));
    }

    static String hex(byte[] bytes) {
        StringBuilder text = new StringBuilder();
        for (byte one : bytes) {
            text.append(String.format("%02x", one));
        }
        return text.toString();
    }
}
