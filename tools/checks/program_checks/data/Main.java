// Threads, collections and native buffers in one source file run by `java`.
import java.nio.ByteBuffer;
import java.util.*;
import java.util.stream.*;

public class Main {
  public static void main(String[] args) {
    Map<String, Integer> count = new TreeMap<>();
    for (int i = 0; i < 100_000; ++i) count.merge("w" + i * 7919L % 1009, 1, Integer::sum);
    long direct = IntStream.range(0, 2000).parallel().mapToLong(i -> {
      ByteBuffer buffer = ByteBuffer.allocateDirect(64 + i);
      buffer.putLong(8, i);
      return buffer.getLong(8);
    }).sum();
    System.out.println(count.size() + " " + count.hashCode() + " " + direct);
  }
}
