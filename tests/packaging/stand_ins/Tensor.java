// Stands in for LiteRT's interface.

package org.tensorflow.lite;

public interface Tensor {
  int[] shape();

  int numBytes();
}
