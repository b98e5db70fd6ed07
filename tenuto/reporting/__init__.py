"""What the report is made of: figures as plain values (`views`), clips to listen to (`listening`), sound and its
picture as bytes (`sounds`). `tenuto.reporting.report` puts them on one page.
"""
