#!/bin/sh
# vcgencmd: what a Raspberry Pi's firmware says of itself, read from files that a test may edit.
case ${1:-} in
  get_throttled) echo "throttled=$(cat /etc/board/throttled)" ;;
  measure_temp)
    t=$(cat /sys/class/thermal/thermal_zone0/temp)
    echo "temp=$((t / 1000)).$((t % 1000 / 100))'C"
    ;;
  measure_clock) echo "frequency(48)=$(cat /sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq)000" ;;
  *)
    echo 'error=1 error_msg="Command not registered"'
    exit 1
    ;;
esac
