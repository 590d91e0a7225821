// Stands in for LiteRT's interface.

package org.tensorflow.lite;

public interface Tensor {
  int[] shape();

  int numBytes();

  DataType dataType();

  QuantizationParams quantizationParams();

  class QuantizationParams {
    public float getScale() {
      return 0;
    }

    public int getZeroPoint() {
      return 0;
    }
  }
}
