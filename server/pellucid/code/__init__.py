"""Program text: brackets, language syntax, rules about lines."""
