"""Whatever the user gives us, validated once: targets, profiles, settings, skills."""
