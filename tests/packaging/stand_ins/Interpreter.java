// Stands in for the class of LiteRT 1.4.0: just the signatures that the Kotlin sample calls.

package org.tensorflow.lite;

import java.nio.ByteBuffer;
import java.util.Map;

public final class Interpreter implements AutoCloseable {
  public static class Options {
    public Options setNumThreads(int threads) {
      return this;
    }
  }

  public Interpreter(ByteBuffer network, Options options) {}

  public Tensor getInputTensor(int index) {
    return null;
  }

  public Tensor getOutputTensor(int index) {
    return null;
  }

  public int getInputTensorCount() {
    return 0;
  }

  public int getOutputTensorCount() {
    return 0;
  }

  public void runForMultipleInputsOutputs(Object[] inputs, Map<Integer, Object> outputs) {}

  @Override
  public void close() {}
}
