"""The text that the byte-level tokenizer is trained on: a few paragraphs and a word list.

It is what people ask about pictures and what a model answers: colours, shapes, signs, places,
numbers. Nothing is downloaded, so the same merges come out everywhere.
"""

PARAGRAPHS = """\
What is in this picture? The picture shows a small harbour in the morning. A red boat lies beside a
white wall, and a blue sign above the door says where the ferry leaves. Behind the wall there are
three houses with dark roofs, and on the right a man is reading a map. The sky is plain and pale.

What does the sign say? The sign says that the market is open from nine to five. The letters are
white on a green ground, and the last line is a telephone number that is too small to read.

Describe the chart. The chart has five bars. The highest bar is orange and stands for August; the
lowest bar is grey and stands for January. Between March and June the values rise slowly, and after
September they fall again. The axis on the left counts visitors in thousands.

How many apples are in the bowl? There are four apples in the bowl: two red ones, one green one and
one that is partly hidden behind a pear. There is also a banana, and some grapes hang over the edge.

Compare the first image with the second image. Both images show the same street. In the first image
it is empty and wet; in the second image the sun is shining, two people are walking their dog, and
the shop at the corner has put tables outside. The colour of the door has changed from brown to
yellow.

Which number is on the ticket? The number on the ticket is not easy to read, because the upper part
is folded. I can see a seven, a zero and perhaps a three. The date below it is the twelfth of May.

Where should I go to find the station? Follow the long road to the north, cross the river at the
second bridge, then turn left. The station is the large building with the clock in front of it.

Please answer in one short sentence. I am not sure, but it looks like a receipt from a café: coffee,
bread, soup, and the total at the bottom. Señora Gómez paid by card. Grüße aus Köln!
你好，这是一张图片。
"""

WORDS = """\
above across after again against air all almost alone along already also always among amount an
and angle animal another answer any area arm around arrow art at autumn back background bag
balcony ball bar basket be beach beam bear because bed before begin behind bell below bench beside
best between bicycle big bird black blank blue board body book border bottle bottom bowl box boy
branch bread bridge bright brown brush building bus button by camera candle car card carpet cat
ceiling centre chair chart church circle city clean clear clock close cloth cloud coast coat
coffee cold colour column come compare copy corner count country cover crane cross crowd cup
curtain curve dark date day deck deep desk detail different direction dish distance dog door dot
down draw dress dry each early east edge egg eight electric eleven empty end engine evening every
eye face factory fall far farm fast fence ferry few field figure fire first fish five flag flat
floor flower foot for forest fork four fox frame fresh from front fruit full garden gate girl
glass go gold good grass gray great green ground group hair half hall hand hat have head heart
heavy height high hill hold hole home horizon horse hour house how ice image in inside iron island
it jacket jar keep key kitchen knife label ladder lake lamp land large last leaf left leg letter
light line lion list little long look low machine man many map market mast meadow metal middle
mirror month moon more morning mountain mouth much museum name narrow near neck new night nine
north nose not note number object ocean of old on once one open orange other out over page paint
pair paper park part path pattern people person photo piano piece pink place plain plant plate
platform point poster price purple quarter question quiet rail rain read rectangle red right ring
river road rock roof room rope round row sail sand sea seat second section see seven shade shadow
shape sharp sheet shelf ship shoe shop short show side sign silver simple single six size sky
small smoke smooth snow soft some south space spoon spring square stair star station step stone
street string summer sun surface table tail tall ten text than that the them there thick thin
third this thousand three through tile time title to tower town track train tree triangle tunnel
twelve two under upper valley vase vertical very view village wall warm watch water wave wheel
when white wide wind window winter with without wood word yellow young zebra zero 0 1 2 3 4 5 6 7
8 9 10 12 15 20 24 25 30 50 60 75 100 120 250 500 1000 2024 2025 Monday Tuesday Wednesday Thursday
Friday Saturday Sunday January February March April May June July August September October
November December
"""

ROLES = ("system", "user", "assistant") * 8  # common enough to become one token each
