// Stands in for LiteRT's enumeration.

package org.tensorflow.lite;

public enum DataType {
  FLOAT32,
  INT8
}
