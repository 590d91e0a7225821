// Resizes raw RGB pixels with the sample's own code: FILE WIDTH HEIGHT TO_WIDTH TO_HEIGHT OUTPUT.

package dev.edgefer.sample

import java.io.File

fun main(arguments: Array<String>) {
    val (width, height, toWidth, toHeight) = arguments.slice(1..4).map { it.toInt() }
    File(arguments[5]).writeBytes(resize(File(arguments[0]).readBytes(), width, height, toWidth, toHeight))
}
