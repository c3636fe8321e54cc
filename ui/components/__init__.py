"""Browser parts that Streamlit does not have: the gallery of examples, keys, a remembered name."""
