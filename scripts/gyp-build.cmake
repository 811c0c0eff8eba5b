# What binding.gyp runs: configure and build with the one CMakeLists.txt, the addon lands where node-gyp puts its products.
foreach(arguments
    "-S;${SOURCE};-B;${SOURCE}/build/cmake;-DCMAKE_BUILD_TYPE=Release;-DCMAKE_LIBRARY_OUTPUT_DIRECTORY=${OUTPUT}"
    "--build;${SOURCE}/build/cmake;--parallel")
  execute_process(COMMAND ${CMAKE_COMMAND} ${arguments} RESULT_VARIABLE failed)
  if(failed)
    message(FATAL_ERROR "cmake ${arguments} failed")
  endif()
endforeach()
