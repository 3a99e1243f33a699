"""Lessons: files of plain text that lead through the pages. Knows nothing of Streamlit."""
