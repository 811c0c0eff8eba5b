{
  "targets": [
    {
      "target_name": "nextscale",
      "type": "none",
      "actions": [
        {
          "action_name": "cmake",
          "message": "Building with CMake",
          "inputs": [],
          "outputs": ["<(PRODUCT_DIR)/nextscale.always"],
          "action": [
            "cmake",
            "-DSOURCE=<(module_root_dir)",
            "-DOUTPUT=<(PRODUCT_DIR)",
            "-P",
            "<(module_root_dir)/scripts/gyp-build.cmake"
          ]
        }
      ]
    }
  ]
}
