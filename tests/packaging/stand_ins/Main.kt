// The sample's own code: resizes raw RGB pixels (FILE WIDTH HEIGHT TO_WIDTH TO_HEIGHT OUTPUT), or passes traces (PACKAGE).

package dev.edgefer.sample

import java.io.File
import org.json.JSONObject

fun main(arguments: Array<String>) {
    if (arguments.size == 1) return passTraces(arguments[0])
    val (width, height, toWidth, toHeight) = arguments.slice(1..4).map { it.toInt() }
    File(arguments[5]).writeBytes(resize(File(arguments[0]).readBytes(), width, height, toWidth, toHeight))
}

private fun passTraces(folder: String) {
    val (video, contract, expected) = listOf("video.json", "preprocessing.json", "golden/traces.json").map {
        JSONObject(File(folder, it).readText())
    }
    val results = goldenTraces(video, contract.getJSONObject("input").optJSONObject("face_crop"), expected)
    for (result in results) println("${if (result.passed) "passed" else "FAILED"} ${result.name}")
}
