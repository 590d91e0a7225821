"""Pictures with times: video files, cameras, folders of frames."""
