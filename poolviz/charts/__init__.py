"""Tensors -> tables -> charts; pure functions, no Streamlit."""
