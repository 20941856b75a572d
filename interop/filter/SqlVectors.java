import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import org.apache.rocketmq.filter.FilterFactory;
import org.apache.rocketmq.filter.expression.EvaluationContext;
import org.apache.rocketmq.filter.expression.Expression;
import org.apache.rocketmq.filter.util.BloomFilter;

/**
 * What the Java broker's own filter says to random expressions, one case a line:
 *
 *     expression TAB properties (name=value, joined by TAB) TAB outcome
 *
 * with outcome REFUSED, TRUE, FALSE, NULL or ERROR. See README.md.
 */
public final class SqlVectors {
    private static final String[] NAMES = {"a", "b", "c", "d", "_x1", "$y"};
    private static final String[] TEXTS = {
        "abc", "ab", "c", "true", "TRUE", "false", "it's", "5", "5.0", "-5", "+5", " 5 ", "05", "6", "0", "-0.0", "0.0", "NaN", "-NaN",
        "Infinity", "-Infinity", "nan", "inf", "1e3", "1e400", "1e", "0x1p3", "0x1.8p1", "0x1", "5d", "5f", "5L", "1_0", "2147483647",
        "2147483648", "-2147483648", "-2147483649", "9223372036854775807", "9223372036854775808", "-9223372036854775808", "\u0665",
        "\uff15", "\u00e4\u4e2d", "\ud83d\ude00", ".5", "5.", "+", "-", ".", "x=y", "null", "1e-400", "4.9E-324", "0x1p-1075", "0x1.00000000000008p0"
    };
    private static final String[] INTEGERS = {
        "0", "5", "6", "05", "1L", "5l", "1000", "2147483647", "2147483648", "9223372036854775807", "9223372036854775808", "42"
    };
    private static final String[] FLOATS = {
        "5.0", "5.", ".5", "0.0", "1e3", "1E+3", "1e-400", "1e400", "4.9E-324", "3.0", "5.5", "00.5", "8.0", "1.7976931348623157E308"
    };
    private static final String[] STRAY = {"!", "#", "\"", "/", ".", ";", "'", "%", "*", "a.b", "a-b", "!=", "==", "LIKE", "now", ",", "(", ")"};
    private static final String[] BLANKS = {" ", " ", " ", " ", "  ", "\t", "\n", " /* x */ ", " -- y\n", " --z\r\n"};

    private final Random random;

    private SqlVectors(long seed) {
        random = new Random(seed);
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments[0].equals("zeros")) {
            for (int c = 0; c < 0x10000; c++) {
                if (Character.digit((char) c, 10) == 0) {
                    System.out.printf("0x%04X%n", c);
                }
            }
            return;
        }
        if (arguments[0].equals("bloom")) {
            bloom();
            return;
        }
        SqlVectors vectors = new SqlVectors(Long.parseLong(arguments[0]));
        int count = Integer.parseInt(arguments[1]);
        StringBuilder out = new StringBuilder();
        for (int i = 0; i < count; i++) {
            String expression = vectors.expression();
            Map<String, String> properties = vectors.properties();
            out.append(escaped(expression));
            properties.forEach((name, value) -> out.append('\t').append(name).append('=').append(escaped(value)));
            out.append('\t').append(outcome(expression, properties)).append('\n');
        }
        System.out.write(out.toString().getBytes(java.nio.charset.StandardCharsets.UTF_8));
        System.out.flush();
    }

    private static void bloom() {
        for (int[] shape : new int[][] {{20, 32}, {20, 64}, {1, 1}, {50, 7}, {99, 3}, {10, 128}, {3, 1000}}) {
            BloomFilter filter = BloomFilter.createByFn(shape[0], shape[1]);
            for (String text : List.of("group#topic", "g#t", "", "a", "consumer#orders-2026", "\u00e4\u4e2d#\ud83d\ude00", "0123456789abcdef", "0123456789abcdefg")) {
                System.out.println(shape[0] + "\t" + shape[1] + "\t" + filter.getK() + "\t" + filter.getM() + "\t" + text + "\t"
                    + java.util.Arrays.toString(filter.calcBitPositions(text)));
            }
        }
    }

    static String outcome(String expression, Map<String, String> properties) {
        Expression compiled;
        try {
            compiled = FilterFactory.INSTANCE.get("SQL92").compile(expression);
        } catch (Throwable refused) {
            return "REFUSED";
        }
        try {
            Object value = compiled.evaluate(new EvaluationContext() {
                @Override
                public Object get(String name) {
                    return properties.get(name);
                }

                @Override
                public Map<String, Object> keyValues() {
                    return new HashMap<>(properties);
                }
            });
            return value == null ? "NULL" : value.equals(Boolean.TRUE) ? "TRUE" : value.equals(Boolean.FALSE) ? "FALSE" : "OTHER";
        } catch (Throwable error) {
            return "ERROR";
        }
    }

    private static String escaped(String text) {
        return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r");
    }

    private <T> T one(T[] of) {
        return of[random.nextInt(of.length)];
    }

    private boolean chance(int percent) {
        return random.nextInt(100) < percent;
    }

    private Map<String, String> properties() {
        Map<String, String> properties = new TreeMap<>();
        for (String name : NAMES) {
            if (chance(65)) {
                properties.put(name, one(TEXTS));
            }
        }
        return properties;
    }

    private String expression() {
        String text = condition(random.nextInt(4));
        if (chance(12)) {
            int at = random.nextInt(text.length() + 1);
            String stray = chance(50) ? one(STRAY) : token();
            text = text.substring(0, at) + (chance(50) ? " " + stray + " " : stray) + text.substring(at);
        }
        if (chance(6)) {
            text = text.substring(0, random.nextInt(text.length() + 1));
        }
        if (chance(4)) {
            text = text + " " + token() + " " + token();
        }
        return text;
    }

    private String blank() {
        return chance(85) ? " " : one(BLANKS);
    }

    private String word(String word) {
        return chance(80) ? word : chance(50) ? word.toLowerCase() : word.substring(0, 1) + word.substring(1).toLowerCase();
    }

    private String token() {
        return one(new String[] {
            "AND", "OR", "NOT", "IS", "NULL", "BETWEEN", "IN", "TRUE", "FALSE", "CONTAINS", "=", "<>", "<", ">", "+", "-", one(NAMES), one(INTEGERS),
            one(FLOATS), quoted()
        });
    }

    /** Mostly well-formed; operands of the wrong kind are not rare. */
    private String condition(int depth) {
        if (depth > 0) {
            switch (random.nextInt(8)) {
                case 0: case 1: return condition(depth - 1) + blank() + word("AND") + blank() + condition(depth - 1);
                case 2: case 3: return condition(depth - 1) + blank() + word("OR") + blank() + condition(depth - 1);
                case 4: return word("NOT") + blank() + (chance(70) ? "(" + condition(depth - 1) + ")" : condition(depth - 1));
                case 5: return "(" + condition(depth - 1) + ")";
                default:
            }
        }
        String not = chance(30) ? word("NOT") + blank() : "";
        switch (random.nextInt(12)) {
            case 0: return value(depth) + blank() + "=" + blank() + value(depth);
            case 1: return value(depth) + blank() + "<>" + blank() + value(depth);
            case 2: case 3: return number() + blank() + one(new String[] {"<", "<=", ">", ">="}) + blank() + number();
            case 4: return value(depth) + blank() + one(new String[] {"<", "<=", ">", ">="}) + blank() + value(depth);
            case 5: return value(depth) + blank() + word("IS") + blank() + not + word("NULL");
            case 6: return number() + blank() + not + word("BETWEEN") + blank() + number() + blank() + word("AND") + blank() + number();
            case 7: return (chance(90) ? one(NAMES) : value(depth)) + blank() + not + word("IN") + blank() + list();
            case 8: return value(depth) + blank() + not + word("CONTAINS") + blank() + quoted();
            case 9: return value(depth) + blank() + not + word(chance(50) ? "STARTSWITH" : "ENDSWITH") + blank() + quoted();
            case 10: return one(new String[] {"TRUE", "FALSE", "NULL", one(NAMES), one(NAMES)});
            default: return one(NAMES) + blank() + "=" + blank() + number();
        }
    }

    private String value(int depth) {
        switch (random.nextInt(10)) {
            case 0: return quoted();
            case 1: return one(new String[] {"TRUE", "FALSE", "NULL"});
            case 2: return (chance(50) ? "-" : "+") + value(depth);
            case 3: return depth > 0 ? "(" + condition(depth - 1) + ")" : one(NAMES);
            case 4: case 5: return number();
            default: return one(NAMES);
        }
    }

    private String number() {
        switch (random.nextInt(8)) {
            case 0: case 1: return one(INTEGERS);
            case 2: return one(FLOATS);
            case 3: return "-" + (chance(50) ? one(INTEGERS) : one(FLOATS));
            case 4: return String.valueOf(random.nextInt(10));
            default: return one(NAMES);
        }
    }

    private String quoted() {
        String text = chance(15) ? "" : chance(50) ? one(new String[] {"a", "b", "ab", "c", "5", "e", "t's"}) : one(TEXTS);
        return "'" + text.replace("'", "''") + "'";
    }

    private String list() {
        StringBuilder list = new StringBuilder("(");
        int count = 1 + random.nextInt(chance(20) ? 8 : 3);
        for (int i = 0; i < count; i++) {
            list.append(i == 0 ? "" : ",").append(chance(50) ? " " : "").append(chance(96) ? quoted() : one(INTEGERS));
        }
        return list.append(")").toString();
    }
}
