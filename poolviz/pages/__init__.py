"""Streamlit pages: widgets -> call -> show. The only place beside the frame that imports streamlit."""
